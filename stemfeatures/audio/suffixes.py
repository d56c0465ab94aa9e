"""Names of audio files."""

from __future__ import annotations

# fmt: off
#: Suffixes of files with audio that ffmpeg or libsndfile read: audio files, and containers that may hold more.
AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".bwf", ".w64", ".rf64", ".flac", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".sph", ".voc",
    ".alac", ".ape", ".mac", ".wv", ".tta", ".tak", ".shn", ".ofr", ".mpc", ".mp+", ".mpp", ".dsf", ".dff",
    ".mp3", ".mp2", ".mp1", ".mpga", ".mpa", ".ogg", ".oga", ".ogx", ".mogg", ".opus", ".spx", ".aac", ".adts", ".ac3",
    ".eac3", ".dts", ".wma", ".amr", ".ra", ".gsm",
    ".m4a", ".m4b", ".m4p", ".m4r", ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".3ga", ".mka", ".mkv", ".webm",
    ".weba", ".asf", ".wmv", ".avi", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts", ".flv", ".f4a", ".f4v", ".ogv",
    ".rm", ".mxf",
})
# fmt: on
