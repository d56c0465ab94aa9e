"""Stems that somebody else separated, for the analysis: read along with the mixture, and turned into masks.

The mask of a stem is its Wiener ratio, its power over that of all stems. Names decide what a stem is:

* ``vocals``, ``drums``, ``bass``: these stems of the analysis;
* ``accompaniment``, ``no_vocals``, ``instrumental``, ``residual``: what is left beside the others. It takes power in
  the ratio and is no row of its own; the stems of the analysis that are not given share it as the network finds them;
* ``other``: that stem, or the rest of it beside stems of further names;
* any further name (``guitar``, ``piano``): a row of its own, and part of ``other``.

Where neither ``other`` nor a rest is given, the mixture less the stems takes that place.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .._util.digests import content_digest
from ..audio import AudioStream, StreamResampler, as_signal, open_audio
from ..audio.suffixes import AUDIO_SUFFIXES
from ..constants import MIXTURE, N_BINS, STEMS
from ..errors import AudioError, SeparationError
from .external import MIXTURES, stem_name
from .remix import pop_samples

#: What tables call the separator of stems that were there before.
GIVEN = "stems"
#: Names of a stem that is all but the others.
REST = ("accompaniment", "no_vocals", "no_drums", "no_bass", "no_other", "instrumental", "residual")
#: A stem may end so much later than its mixture, and the last of them so much earlier: delays of encoders.
TOLERANCE_S = 1.0


class StemSource(Protocol):
    """Where the stems of a track come from: a separator, or the folder that holds them."""

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems."""
        ...

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Stems of a signal that arrives in blocks; those of a folder may have one channel."""
        ...


def joined(
    source: StemSource, blocks: Iterable[np.ndarray], sample_rate: int, channels: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """A signal with its stems, block by block.

    Parameters
    ----------
    source : StemSource
        Where the stems come from; it may be behind the signal as far as it likes.
    blocks : iterable of numpy.ndarray
        ``(channels, n)`` of the signal.
    sample_rate : int
        Hz.
    channels : int
        Number of channels.

    Yields
    ------
    tuple of numpy.ndarray and dict
        ``(channels, k)`` of the signal, and as many samples of each stem.
    """
    held: list[np.ndarray] = []

    def kept() -> Iterator[np.ndarray]:
        for block in blocks:
            held.append(block)
            yield block

    for found in source.stream(kept(), sample_rate, channels):
        yield pop_samples(held, next(iter(found.values())).shape[-1]), found


class StemFolder:
    """A folder with the stems of one track: ``<stem>.<suffix of audio>``, of any rate and number of channels.

    Files named ``mixture`` or ``mix`` are passed over, as are those whose names begin with a dot.

    Parameters
    ----------
    path : str or Path
        The folder.
    timeout_s : float, optional
        Longest time to wait for each decoder, in seconds.

    Attributes
    ----------
    files : dict of str to Path
        By name of the stem, sorted.

    Raises
    ------
    SeparationError
        There is no such folder, no audio in it, two files of one stem, or a file whose name is none of a stem.
    """

    def __init__(self, path: str | Path, *, timeout_s: float | None = None) -> None:
        self.path, self.timeout_s = Path(path), timeout_s
        try:
            entries = sorted(self.path.iterdir())
        except OSError as error:
            raise SeparationError(f"no folder of stems: {error.strerror}", source=str(path)) from error
        self.files: dict[str, Path] = {}
        for entry in entries:
            if entry.suffix.lower() not in AUDIO_SUFFIXES or entry.name.startswith("."):
                continue
            try:
                stem = stem_name(entry.stem)
            except SeparationError as error:
                raise error.about(str(entry)) from None
            if stem in MIXTURES:
                continue
            if stem in self.files:
                raise SeparationError(
                    f"two files of stem {stem!r}: {self.files[stem].name}, {entry.name}", source=str(path)
                )
            self.files[stem] = entry
        self.files = dict(sorted(self.files.items()))
        if not self.files:
            raise SeparationError("no stems: no audio files in this folder", source=str(path))

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, sorted."""
        return tuple(self.files)

    @cached_property
    def sha256(self) -> str:
        """Digest of names and contents of the files; those that nobody has touched since are not read again."""
        lines = (f"{stem} {content_digest(path)}\n" for stem, path in self.files.items())
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """The stems beside the blocks of their mixture.

        Parameters
        ----------
        blocks : iterable of numpy.ndarray
            ``(channels, n)`` of the mixture.
        sample_rate : int
            Hz; stems of another rate are resampled.
        channels : int
            Of the mixture; of a stem with another number of them the mean is given.

        Yields
        ------
        dict of str to numpy.ndarray
            ``(channels, n)`` of each stem, or ``(1, n)``; zeros where it has ended.

        Raises
        ------
        SeparationError
            A stem cannot be decoded, or ends before the length that its file states; one is longer than the mixture,
            or all of them are shorter.
        """
        readers: dict[str, _Reader] = {}
        n_samples = 0
        try:
            for stem, path in self.files.items():
                readers[stem] = _Reader(path, sample_rate, channels, self.timeout_s)
            for block in blocks:
                n_samples += block.shape[-1]
                yield {stem: reader.take(block.shape[-1]) for stem, reader in readers.items()}
            self._check_lengths(readers, n_samples, sample_rate)
        finally:
            for reader in readers.values():
                reader.stream.close()

    def _check_lengths(self, readers: Mapping[str, _Reader], n_samples: int, sample_rate: int) -> None:
        tolerance = round(TOLERANCE_S * sample_rate)
        for reader in readers.values():
            reader.take(tolerance)
            if reader.n_samples >= n_samples + tolerance:
                raise reader.failure(f"longer than its mixture, which lasts {n_samples / sample_rate:.1f} s")
        longest = max(reader.n_samples for reader in readers.values())
        if longest < n_samples - tolerance:
            raise SeparationError(
                f"the longest stem lasts {longest / sample_rate:.1f} s, the mixture {n_samples / sample_rate:.1f} s",
                source=str(self.path),
            )


class _Reader:
    """One stem at the rate of its mixture, with its channels or as one; zeros behind its end."""

    def __init__(self, path: Path, sample_rate: int, channels: int, timeout_s: float | None) -> None:
        self.path, self.n_samples = path, 0
        try:
            self.stream: AudioStream = open_audio(path, timeout_s=timeout_s, max_duration_s=math.inf)
        except AudioError as error:
            raise self.failure(error.message) from error
        # The mixture decides how channels that cancel are mixed, for which the stem needs the same ones.
        self._as_one = self.stream.info.channels != channels
        self._resampler = StreamResampler(self.stream.info.sample_rate, sample_rate)
        self._held = np.zeros((1 if self._as_one else channels, 0), np.float32)
        self._ended = False

    def take(self, count: int) -> np.ndarray:
        parts, have = [self._held], self._held.shape[-1]
        while have < count and not self._ended:
            block = self._next()
            self._ended = block is None
            if block is not None:
                made = self._resampler.process(block.mean(axis=0, keepdims=True) if self._as_one else block)
            else:
                made = self._resampler.flush().reshape(len(self._held), -1)
            self.n_samples += made.shape[-1]
            have += made.shape[-1]
            parts.append(made)
        if self._ended and self.stream.status != "ok":  # no silence follows, as where a stem ends early
            raise self.failure(f"{self.stream.status}: {self.stream.message}")
        held = np.concatenate(parts, axis=-1)
        self._held = held[:, count:]
        return np.pad(held[:, :count], ((0, 0), (0, max(0, count - held.shape[-1]))))

    def failure(self, what: str) -> SeparationError:
        """The error of this stem; it names the file, as who reads it calls it one of the track."""
        return SeparationError(f"stem {self.path.name}: {what}", source=str(self.path))

    def _next(self) -> np.ndarray | None:
        try:
            return next(self.stream, None)
        except AudioError as error:
            raise self.failure(error.message) from error


class StemArrays:
    """Stems as arrays, of a signal of known length.

    Parameters
    ----------
    stems : dict of str to numpy.ndarray
        ``(n_samples,)`` or ``(channels, n_samples)`` each. One called ``mixture`` or ``mix`` is passed over.
    sample_rate : int
        Hz.
    n_samples : int
        Length of the signal.

    Attributes
    ----------
    stems : tuple of str
        Their names.

    Raises
    ------
    AudioError
        There are no samples in one, or NaN or infinity.
    TypeError, ValueError
        One is no audio, or of another length; there are none, or two of one name.
    """

    def __init__(self, stems: Mapping[str, np.ndarray], sample_rate: int, n_samples: int) -> None:
        self._signals: dict[str, np.ndarray] = {}
        for name, y in stems.items():
            stem = stem_name(name)
            if stem in self._signals:
                raise ValueError(f"two stems are called {stem!r}")
            if stem not in MIXTURES:
                self._signals[stem] = as_signal(y, sample_rate)
        self.stems = tuple(self._signals)
        if not self.stems:
            raise ValueError("no stems were given")
        for stem, y in self._signals.items():
            if y.shape[-1] != n_samples:
                raise ValueError(f"stem {stem!r} has {y.shape[-1]} samples, its mixture {n_samples}")

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """The stems beside the blocks of their mixture, as :meth:`StemFolder.stream`.

        Parameters
        ----------
        blocks : iterable of numpy.ndarray
            ``(channels, n)`` of the mixture.
        sample_rate : int
            Hz.
        channels : int
            Of the mixture.

        Yields
        ------
        dict of str to numpy.ndarray
            ``(k, n)`` of each stem, with its channels.
        """
        at = 0
        for block in blocks:
            cut = slice(at, at + block.shape[-1])
            at = cut.stop
            yield {stem: y[:, cut] for stem, y in self._signals.items()}


def origin(source: StemSource) -> dict[str, Any]:
    """Where stems come from, as columns of tables.

    Parameters
    ----------
    source : StemSource
        An :class:`~.external.ExternalSeparator`, a :class:`StemFolder` or :class:`StemArrays`.

    Returns
    -------
    dict
        ``separator``, ``separator_version`` and ``separator_sha256``.
    """
    return {
        "separator": getattr(source, "name", GIVEN),
        "separator_version": getattr(source, "version", ""),
        "separator_sha256": getattr(source, "sha256", ""),
    }


def folder_of(root: str | Path, name: str) -> Path:
    """Where the stems of a track belong: below ``root``, whatever its name is.

    Parameters
    ----------
    root : str or Path
        Folder of all stems.
    name : str
        Id or path of the track.

    Returns
    -------
    Path
        Its folder, which need not exist.

    Examples
    --------
    >>> folder_of("stems", "b/song.mp3").as_posix(), folder_of("stems", "/../song.mp3").as_posix()
    ('stems/b/song.mp3', 'stems/song.mp3')
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "//", "..")]
    return Path(root).joinpath(*parts or ("_",))


def find_stem_folder(root: str | Path, *names: str) -> Path | None:
    """The folder of a track's stems.

    Parameters
    ----------
    root : str or Path
        What ``--stems-from`` names.
    *names : str
        What the track may be called: its id, its path in the catalogue. Each is tried as it is and without its suffix,
        then the last part of it alike. Nothing outside of ``root`` is found.

    Returns
    -------
    Path or None
        The first that is a folder; None if none is.
    """
    for name in names:
        path = folder_of(root, name)
        for folder in (path, path.with_suffix(""), Path(root, path.name), Path(root, path.name).with_suffix("")):
            if folder.is_dir():
                return folder
    return None


def further_stems(stems: Iterable[str]) -> tuple[str, ...]:
    """Those of the stems that become rows beside the four.

    Parameters
    ----------
    stems : iterable of str
        Names of stems.

    Returns
    -------
    tuple of str
        In the same order.

    Examples
    --------
    >>> further_stems(("vocals", "guitar", "residual", "piano"))
    ('guitar', 'piano')
    """
    return tuple(stem for stem in stems if stem not in STEMS and stem not in REST and stem != MIXTURE)


def wiener_masks(mixture: Tensor, stems: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Masks from the spectra of stems.

    Parameters
    ----------
    mixture : Tensor
        ``(n_fft // 2 + 1, k)`` complex, of the mixture.
    stems : Tensor
        ``(n_stems, n_fft // 2 + 1, k)`` complex, of the stems.
    names : tuple of str
        Their names; see the module's docstring.

    Returns
    -------
    dict of str to Tensor
        ``(N_BINS, k)``, 0..1: of those of ``STEMS`` that are known, and of further stems. The former sum to one where
        all are known; where nothing sounds all is ``other``, or what is not known.
    """
    tiny = torch.finfo(torch.float32).tiny
    power = {name: spectrum.abs() ** 2 for name, spectrum in zip(names, stems[:, :N_BINS])}
    has_rest = any(name in REST for name in names)
    total = torch.stack(list(power.values())).sum(dim=0)
    if not has_rest and not set(STEMS) <= set(names):
        total = total + (mixture[:N_BINS] - stems[:, :N_BINS].sum(dim=0)).abs() ** 2
    further = further_stems(names)
    masks = {
        name: torch.where(total > tiny, power[name] / total.clamp_min(tiny), 0.0)
        for name in names
        if name in STEMS or name in further
    }
    named = set(STEMS) - {"other"}
    if named <= set(masks) and not has_rest:
        # All but these is other: its own rest, the further stems and what none of them has.
        masks["other"] = (1 - torch.stack([masks[stem] for stem in sorted(named)]).sum(dim=0)).clamp(0, 1)
    elif "other" in masks and further:
        parts = torch.stack([masks[name] for name in ("other", *further)])
        masks["other"] = parts.sum(dim=0).clamp(0, 1)
    return masks
