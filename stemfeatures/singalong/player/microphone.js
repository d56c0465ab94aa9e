"use strict";
/** The pitch of the microphone, where the browser grants one. */
singalong.Microphone = class {
  static FRAME = 2048;

  get on() {
    return Boolean(this.stream);
  }

  /** Ask for the microphone; throws with a message that can be shown. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("This browser gives no microphone to pages that are opened from disk.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
    } catch (error) {
      throw new Error(error.name === "NotFoundError" ? "There is no microphone." : "The microphone was not allowed.");
    }
    this.context = new AudioContext();
    this.analyser = new AnalyserNode(this.context, { fftSize: singalong.Microphone.FRAME * 2 });
    new MediaStreamAudioSourceNode(this.context, { mediaStream: this.stream }).connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.context?.close();
    this.stream = null;
  }

  /** Cents of what is sung now, null where nothing is. */
  listen() {
    this.analyser.getFloatTimeDomainData(this.samples);
    // Half the rate is plenty for a voice, and a quarter of the work.
    const half = new Float32Array(this.samples.length / 2);
    for (let i = 0; i < half.length; i += 1) half[i] = (this.samples[2 * i] + this.samples[2 * i + 1]) / 2;
    const hz = singalong.pitch.f0(half, this.context.sampleRate / 2);
    return hz === null ? null : singalong.pitch.toCents(hz);
  }
};
