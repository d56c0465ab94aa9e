"""What a file may be, and cost, at most."""

from __future__ import annotations

from dataclasses import dataclass

#: Longer than any recording of music, and far less than what a file of some hundred kilobytes can decode to.
MAX_DURATION_S = 6 * 3600.0
MAX_CHANNELS = 64
#: Hz; what is slower is no sound but a control signal, or a damaged header.
MIN_SAMPLE_RATE = 1000
#: Seconds of CPU that a megabyte may take to be decoded, on top of one minute for a file of any size.
MAX_CPU_S_PER_MB = 20.0


@dataclass(frozen=True)
class AudioLimits:
    """The limits of :func:`~stemfeatures.audio.open_audio`, which all commands share.

    A day of audio in a file of some hundred kilobytes, or 255 channels, are made to do harm; so are files that keep a
    decoder busy for hours.

    Attributes
    ----------
    max_duration_s : float
        Seconds that a file may last.
    max_channels : int
        Channels that it may have.
    max_cpu_s_per_mb : float
        Seconds of CPU that decoding may take for each megabyte of the file, besides one minute.

    Examples
    --------
    >>> from stemfeatures.audio import open_audio
    >>> with open_audio("song.wav", **vars(AudioLimits(max_channels=2))) as stream:
    ...     stream.info.channels
    2
    """

    max_duration_s: float = MAX_DURATION_S
    max_channels: int = MAX_CHANNELS
    max_cpu_s_per_mb: float = MAX_CPU_S_PER_MB
