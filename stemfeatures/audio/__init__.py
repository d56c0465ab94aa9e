"""Audio files in and out: the one place that touches codecs.

Notes
-----
* Samples are float32, full scale = 1.0, shape ``(channels, n_samples)``; mono signals are ``(n_samples,)``.
* Channels are never dropped or mixed unasked: one, two and more are handled alike. :func:`to_mono` is the mean over
  all of them, whatever their number. They come in the order of WAVE (left, right, centre, low frequencies, back, side)
  from all formats that say which is which.
* Time zero is the first decoded sample. Files are read forward only, a block at a time; nothing seeks.
* soundfile (libsndfile) decodes what it can, ffmpeg the rest: m4a/AAC, WMA, and the few MP3 and Ogg files of which
  libsndfile would read only a part. Where libsndfile breaks off in a damaged file, ffmpeg goes on. Which one it was
  is in :class:`AudioInfo`.
* Where a container tells the time (FLAC, Ogg), damage inside a file becomes silence and what follows keeps its time.
  Behind a damaged place of an MP3 everything is displaced by the few frames that are lost there.
* Ogg, FLAC, WAV and AIFF files that were joined end to end are read whole, each as if it stood alone, as are all chunks
  of samples of a WAV. Before one of another sample rate or number of channels the sound ends, truncated. Joined MP3
  files are read whole as one stream: between two of them the filling of an encoder may stay.
* The identity of a track is the SHA-256 of its file's bytes: cheap, stable, and independent of any decoder.
* Of a file with several audio streams the default one is decoded, and the message of the stream tells which.
* Delay and filling of an encoder are no music where the file notes them (LAME and Xing headers, Ogg, MP4).

A decoder that keeps the caller waiting too long is given up. libmpg123 may print notes on damaged MP3 files to
standard error; they cannot be caught without redirecting the standard error of the whole process.
"""

from .decoder import AudioInfo
from .encode import AudioWriter, write
from .identity import audio_identity, file_sha256
from .limits import MAX_CHANNELS, MAX_CPU_S_PER_MB, MAX_DURATION_S, AudioLimits
from .resampling import StreamResampler, resample
from .signals import as_signal, to_mono
from .streams import (
    AudioStream,
    decoder_versions,
    load,
    open_audio,
    probe,
)
from .tags import Tags, read_tags

__all__ = [
    "MAX_CHANNELS",
    "MAX_CPU_S_PER_MB",
    "MAX_DURATION_S",
    "AudioInfo",
    "AudioLimits",
    "AudioStream",
    "AudioWriter",
    "StreamResampler",
    "Tags",
    "as_signal",
    "audio_identity",
    "decoder_versions",
    "file_sha256",
    "load",
    "open_audio",
    "probe",
    "read_tags",
    "resample",
    "to_mono",
    "write",
]
