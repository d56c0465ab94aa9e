"""Separators of other packages and functions of one's own, by one protocol.

A separator from outside is a function of one array: ``separate(y, sample_rate)`` takes ``(channels, n)`` float32 and
returns ``{stem: (channels, n)}``. :class:`ExternalSeparator` gives it signals of any length in windows that overlap,
checks what comes back and says where it came from. Names are found by :func:`open_external`:

* ``demucs``, ``openunmix``, ``spleeter``, ``audio-separator``, with a model behind a colon, if they are installed;
* names that other packages register as entry points of the group ``stemfeatures.separators``, ``NAME =
  module:factory``, where ``factory(model or None, device=...)`` returns a :class:`Tool`;
* ``package.module:function``: the function itself.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio import file_sha256, resample
from ..constants import MIXTURE
from ..errors import ModelError, SeparationError, printable_text
from .aside import aside
from .base import BaseSeparator
from .tools import GROUP, PACKAGES, separator_names

if TYPE_CHECKING:
    import torch

#: A signal is separated in windows so long, so that memory does not grow with its length; neighbours overlap, and are
#: cross-faded there.
WINDOW_S, OVERLAP_S = 120.0, 8.0
#: Shorter signals are filled up with zeros: networks need some frames.
LEAST_S = 1.0
#: Of the noise that finds out which stems a function returns, and of that which tries it out.
_PROBE_RATE, _PROBE_S, _TRIAL_S = 44_100, 4.0, 2.0
#: Names of what is no stem but the sum of all.
MIXTURES = (MIXTURE, "mix")
#: Zero-width characters that join or part letters of some scripts, within words: they control nothing.
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))

Separate = Callable[[np.ndarray, int], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Tool:
    """A loaded separator.

    Attributes
    ----------
    separate : callable
        ``(channels, n)`` float32 and its rate in Hz to ``{stem: (channels, n)}``.
    stems : tuple of str
        Names of the stems, as it returns them; empty: a trial will tell.
    version : str
        Of the package.
    sha256 : str
        Digest of the weights, or of the code where there are none.
    window_s : float
        Longest signal to give it at a time, in seconds, one or more; infinity: always the whole.

    Raises
    ------
    ValueError
        ``window_s`` is shorter than that.
    """

    separate: Separate
    stems: tuple[str, ...] = ()
    version: str = ""
    sha256: str = ""
    window_s: float = WINDOW_S

    def __post_init__(self) -> None:
        if not self.window_s >= LEAST_S:
            raise ValueError(f"window_s must be at least {LEAST_S:g}, not {self.window_s:g}")


class ExternalSeparator(BaseSeparator):
    """A separator from outside.

    Parameters
    ----------
    name : str
        What tables call it, such as ``demucs:htdemucs``.
    tool : Tool
        What separates.

    Attributes
    ----------
    name, version, sha256 : str
        Where its stems come from.
    stems : tuple of str
        Lower case, in the order of the tool.

    Raises
    ------
    SeparationError
        The trial that finds out the stems failed; or two have one name, or there are none.

    Examples
    --------
    >>> import numpy as np
    >>> halves = Tool(lambda y, sample_rate: {"Vocals": y / 2, "other": y / 2}, version="1", sha256="-")
    >>> separator = ExternalSeparator("halves", halves)
    >>> separator.stems
    ('vocals', 'other')
    >>> float(separator.separate_array(np.ones(44_100, np.float32), 44_100)["vocals"].max())
    0.5
    """

    def __init__(self, name: str, tool: Tool) -> None:
        self.name, self.tool = name, tool
        self.version, self.sha256 = tool.version, tool.sha256
        stems = tool.stems or tuple(self._call(_noise(_PROBE_S), _PROBE_RATE))
        self.stems = self._names(stems)

    def try_out(self) -> None:
        """Separate two seconds of noise in stereo, to see whether what comes back are stems; SeparationError if not."""
        self.separate_array(_noise(_TRIAL_S), _PROBE_RATE)

    def stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int) -> Iterator[dict[str, np.ndarray]]:
        """Separate a signal that arrives in blocks; memory is bounded by the tool's window.

        Parameters
        ----------
        blocks : iterable of numpy.ndarray
            ``(channels, n)``, float, full scale 1.0; any ``n``.
        sample_rate : int
            Hz.
        channels : int
            Number of channels.

        Yields
        ------
        dict of str to numpy.ndarray
            Consecutive blocks ``(channels, k)`` of all stems, together as long as the signal; none for an empty one.

        Raises
        ------
        SeparationError
            The tool failed, or returned something else than stems of the length of the signal.
        """
        overlap = round(min(OVERLAP_S, self.tool.window_s / 4) * sample_rate) if np.isfinite(self.tool.window_s) else 0
        window = self.tool.window_s * sample_rate
        held, n_held, tail = [np.zeros((channels, 0), np.float32)], 0, None
        for block in blocks:
            held.append(np.asarray(block, np.float32))
            n_held += block.shape[-1]
            while n_held > window:
                size, y = int(window), np.concatenate(held, axis=-1)
                found = _faded(tail, self._separate(y[:, :size], sample_rate), overlap)
                held, n_held = [y[:, size - overlap :]], n_held - size + overlap
                tail = {stem: signal[:, size - overlap :] for stem, signal in found.items()}
                yield {stem: signal[:, : size - overlap] for stem, signal in found.items()}
        if n_held:
            yield _faded(tail, self._separate(np.concatenate(held, axis=-1), sample_rate), overlap)

    def _separate(self, y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Stems of one window, checked."""
        n_samples = y.shape[-1]
        missing = max(0, round(LEAST_S * sample_rate) - n_samples)
        found = self._call(np.pad(y, ((0, 0), (0, missing))), sample_rate)
        names = self._names(found)
        if set(names) != set(self.stems):
            raise SeparationError(f"{self.name} gave {', '.join(names)} after {', '.join(self.stems)}")
        shape = (len(y), n_samples + missing)
        stems = {stem_name(stem): self._checked(stem, signal, shape)[:, :n_samples] for stem, signal in found.items()}
        return {stem: stems[stem] for stem in self.stems}

    def _checked(self, stem: object, signal: Any, shape: tuple[int, int]) -> np.ndarray:
        """A stem as an array of ``shape``; SeparationError for what is none."""
        try:
            # A tensor may have gradients, or lie on another device.
            y = np.asarray(signal.detach().cpu() if hasattr(signal, "detach") else signal)
        except Exception as error:
            raise SeparationError(f"{self.name}: {stem} is no array: {type(error).__name__}: {error}") from error
        if not np.issubdtype(y.dtype, np.floating):
            raise SeparationError(f"{self.name}: {stem} has type {y.dtype}, not float with full scale 1")
        if y.ndim == 1 and shape[0] == 1:
            y = y[None]
        if y.shape != shape:
            raise SeparationError(f"{self.name}: {stem} has shape {y.shape}, not {shape}")
        with np.errstate(over="ignore"):
            y = y.astype(np.float32, copy=False)
        if not np.isfinite(y).all():
            raise SeparationError(f"{self.name}: {stem} is not finite")
        return y

    def _names(self, stems: Iterable[object]) -> tuple[str, ...]:
        """How tables call the stems, mixtures left out; SeparationError for two of one name, or none."""
        names = tuple(stem_name(stem) for stem in stems)
        for name in names:
            if names.count(name) > 1:
                raise SeparationError(f"{self.name} has two stems {name!r}")
        names = tuple(name for name in names if name not in MIXTURES)
        if not names:
            raise SeparationError(f"{self.name} has no stems")
        return names

    def _call(self, y: np.ndarray, sample_rate: int) -> dict[str, Any]:
        try:
            with aside(), np.errstate():
                found = self.tool.separate(y, sample_rate)
        except (Exception, SystemExit) as error:
            raise SeparationError(f"{self.name} failed: {type(error).__name__}: {error}") from error
        if not isinstance(found, Mapping) or not found:
            raise SeparationError(f"{self.name} returned {type(found).__name__}, not stems by name")
        return {stem: signal for stem, signal in found.items() if stem_name(stem) not in MIXTURES}


def _noise(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.05, (2, round(_PROBE_RATE * seconds)))
    return noise.astype(np.float32)


def stem_name(name: object) -> str:
    """The name of a stem in tables, and of its file: lower case, words joined by underscores.

    SeparationError for what would be no name of a file in the folder of its track, or control a terminal.

    >>> stem_name("Lead Vocals")
    'lead_vocals'
    """
    found = "_".join(str(name).lower().split())
    if not found.translate(_JOINERS).isprintable() or not found.strip(".") or {"/", "\\"} & set(found):
        raise SeparationError(f"{printable_text(repr(name))} is no name of a stem")
    return found


def open_external(name: str, *, device: str = "cpu") -> ExternalSeparator:
    """Open a separator from outside.

    Parameters
    ----------
    name : str
        ``NAME``, ``NAME:MODEL`` or ``package.module:function``; see the module's docstring.
    device : str, optional
        Torch device, for tools that run in torch.

    Returns
    -------
    ExternalSeparator
        With its weights loaded.

    Raises
    ------
    ModelError
        There is no such separator, its package is not installed, or it cannot be loaded.
    """
    first = name.partition(":")[0]
    try:
        with aside():
            tool = _loaded(name, device)
        return ExternalSeparator(name, tool)
    except ModelError:
        raise
    except SeparationError as error:
        raise ModelError(f"separator {name!r} cannot be used: {error.message}") from error
    except ImportError as error:
        hint = f"; to install it: pip install {first}" if first in PACKAGES else _lies_here(first, error)
        raise ModelError(f"separator {name!r}: {error}{hint}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"separator {name!r} cannot be loaded: {type(error).__name__}: {error}") from error


def _lies_here(module: str, error: ImportError) -> str:
    """What to do about a module that Python does not find, though it lies in the folder of this process."""
    top = module.partition(".")[0]
    path = Path(top)
    if error.name != top or not (path.is_dir() or path.with_suffix(".py").is_file()):
        return ""
    return "; it lies in this folder, where modules are not looked for: set PYTHONPATH=. to take it from there"


def _loaded(name: str, device: str) -> Tool:
    first, _, model = name.partition(":")
    if first in PACKAGES:
        module = import_module(f".packages.{PACKAGES[first]}", __package__)
        tool: Tool = module.load(model or None, device=device)
        return tool
    for point in metadata.entry_points(group=GROUP, name=first):
        made: Tool = point.load()(model or None, device=device)
        return made
    if not model:
        raise ModelError(f"unknown separator {name!r}; there are: {', '.join(separator_names())}, and MODULE:FUNCTION")
    return tool_of(getattr(import_module(first), model))


def tool_of(function: Callable[..., Any]) -> Tool:
    """A function as a tool.

    Parameters
    ----------
    function : callable
        ``(y, sample_rate)`` to ``{stem: signal}``. Its attributes ``stems``, ``version``, ``sha256`` and ``window_s``
        are taken where it has them; else the version is that of its distribution, the digest that of its source file.

    Returns
    -------
    Tool
        Of the function.
    """
    if not callable(function):
        raise TypeError(f"{type(function).__name__} is no function")
    module = getattr(function, "__module__", "") or ""
    sha256 = getattr(function, "sha256", "") or _source_sha256(function)
    version = getattr(function, "version", "")
    for distribution in metadata.packages_distributions().get(module.partition(".")[0], ()) if not version else ():
        version = metadata.version(distribution)
    stems = getattr(function, "stems", ())
    stems = (stems,) if isinstance(stems, str) else tuple(stems)
    return Tool(function, stems, str(version), str(sha256), float(getattr(function, "window_s", WINDOW_S)))


def _source_sha256(function: Callable[..., Any]) -> str:
    """Digest of the source file of a function; of its own source where there is no file, as in a notebook."""
    try:
        source = inspect.getsourcefile(sys.modules[function.__module__])
    except (AttributeError, KeyError, TypeError):
        source = None
    if source and Path(source).is_file():
        return file_sha256(source)
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def weights_sha256(module: torch.nn.Module) -> str:
    """Digest of the weights of a network, whatever file they came from.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    str
        Hexadecimal SHA-256 over names, types, shapes and bytes of its state, by name.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.flatten().view(_bytes()).numpy().tobytes())
    return digest.hexdigest()


def _bytes() -> torch.dtype:
    import torch

    return torch.uint8


def in_stereo(
    y: np.ndarray, sample_rate: int, rate: int, run: Callable[[np.ndarray], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Separate at another rate by a tool that takes stereo.

    Parameters
    ----------
    y : numpy.ndarray
        ``(channels, n_samples)``. One channel is given twice; of more than two, each by itself.
    sample_rate : int
        Hz.
    rate : int
        Hz, at which the tool works.
    run : callable
        ``(2, n)`` at ``rate`` to ``{stem: (2, k)}``.

    Returns
    -------
    dict of str to numpy.ndarray
        Stems with the rate, channels and length of ``y``.
    """
    channels, n_samples = y.shape
    if channels > 2:
        parts = [in_stereo(one[None], sample_rate, rate, run) for one in y]
        return {stem: np.concatenate([part[stem] for part in parts]) for stem in parts[0]}
    stereo = resample(y, sample_rate, rate)
    found = {}
    for stem, made in run(np.ascontiguousarray(np.repeat(stereo, 2, axis=0) if channels == 1 else stereo)).items():
        signal = made.mean(axis=0, keepdims=True) if channels == 1 else made
        signal = resample(np.asarray(signal, np.float32), rate, sample_rate)[:, :n_samples]
        found[stem] = np.pad(signal, ((0, 0), (0, n_samples - signal.shape[1])))
    return found


def _faded(before: dict[str, np.ndarray] | None, after: dict[str, np.ndarray], overlap: int) -> dict[str, np.ndarray]:
    """A window whose first samples are cross-faded with the last of the window before."""
    if before is None:
        return after
    ramp = (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
    faded = {}
    for stem, y in after.items():
        n = min(overlap, y.shape[-1])
        start = before[stem][:, :n] * (1 - ramp[:n]) + y[:, :n] * ramp[:n]
        faded[stem] = np.concatenate([start, y[:, n:]], axis=-1)
    return faded
