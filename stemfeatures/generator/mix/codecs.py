"""Lossy codecs, there and back."""

from __future__ import annotations

import io

import numpy as np
import scipy.fft

from ..units import SR

CODECS = ("mp3", "vorbis", "aac")


def codec_round_trip(y: np.ndarray, codec: str, quality: float) -> np.ndarray:
    """(2, n) after lossy coding and back, aligned with ``y``.

    Parameters
    ----------
    codec : str
        One of ``CODECS``; ``quality`` 0 (worst) to 1 (best), about 64 to 320 kbit/s.

    Raises
    ------
    ValueError
        Unknown codec.
    RuntimeError
        Ffmpeg cannot code AAC.
    """
    if codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}; there are: {', '.join(CODECS)}")
    decoded = _aac(y, quality) if codec == "aac" else _libsndfile(y, codec, quality)
    n = y.shape[1]
    return _aligned(decoded, y)[:, :n]


def _libsndfile(y: np.ndarray, codec: str, quality: float) -> np.ndarray:
    import soundfile

    container = {"mp3": ("MP3", "MPEG_LAYER_III"), "vorbis": ("OGG", "VORBIS")}[codec]
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        SR,
        2,
        format=container[0],
        subtype=container[1],
        compression_level=1.0 - min(max(quality, 0.0), 1.0),
    ) as file:
        for start in range(0, y.shape[1], 1 << 16):  # Vorbis overflows its stack on long writes
            file.write(y[:, start : start + (1 << 16)].T)
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32", always_2d=True)[0].T


def _aac(y: np.ndarray, quality: float) -> np.ndarray:
    import subprocess

    import imageio_ffmpeg

    ffmpeg, kbits = imageio_ffmpeg.get_ffmpeg_exe(), int(64 * 4**quality)
    raw = ["-f", "f32le", "-ar", str(SR), "-ac", "2"]
    quiet = [ffmpeg, "-v", "error", "-nostdin"]
    encode = [*quiet[:-1], *raw, "-i", "-", "-c:a", "aac", "-b:a", f"{kbits}k", "-f", "adts", "-"]
    decode = [*quiet[:-1], "-f", "aac", "-i", "-", *raw, "-"]
    data = np.ascontiguousarray(y.T, np.float32).tobytes()
    for command in (encode, decode):
        done = subprocess.run(command, input=data, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"ffmpeg cannot code AAC: {done.stderr.decode(errors='replace').strip()[-200:]}")
        data = done.stdout
    return np.frombuffer(data, np.float32).reshape(-1, 2).T


def _aligned(decoded: np.ndarray, y: np.ndarray, most: int = 4096) -> np.ndarray:
    """``decoded`` shifted to where it fits ``y`` best, as long as ``y``."""
    n = y.shape[1]
    padded = np.zeros((2, n + 2 * most), np.float32)
    fit = decoded[:, : n + most]
    padded[:, : fit.shape[1]] = fit
    loud = int(np.argmax(np.convolve(np.abs(y[0][::64]), np.ones(512), "same"))) * 64
    start = int(np.clip(loud - 16_384, 0, max(0, n - 32_768)))
    a, b = y[0, start : start + 32_768], padded[0, start : start + 32_768 + most]
    size = scipy.fft.next_fast_len(len(a) + len(b), real=True)
    match = scipy.fft.irfft(scipy.fft.rfft(b, size) * np.conj(scipy.fft.rfft(a, size)), size)[:most]
    delay = int(np.argmax(match))
    return padded[:, delay : delay + n]
