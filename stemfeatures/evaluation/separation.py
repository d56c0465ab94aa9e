r"""Separation metrics.

Notes
-----
Signals are ``(n_samples,)`` or ``(channels, n_samples)``; channels count as one long signal. Estimates are compared as
they are: nothing is rescaled, shifted or trimmed to fit the truth.

A silent reference has no score, whatever the estimate: every metric answers NaN. A silent *estimate* of a sounding
reference has an SDR of exactly 0 dB (its error is the reference itself) and no SI-SDR.

The metrics are

* :func:`sdr`, of the whole signal ("uSDR", the MDX challenges): ``10 log10(|s|^2 / |s - ŝ|^2)``. Sensitive to scale.
* :func:`si_sdr`: the same after the best scaling of the reference (Le Roux et al., "SDR - half-baked or well done?",
  ICASSP 2019). Signals are used as they are, with their mean.
* :func:`nsdr`: ``sdr`` gained over handing out the mixture.
* :func:`bss_eval`: BSS Eval v4 (Stöter, Liutkus and Ito, LVA/ICA 2018), the figures of the SiSEC and most papers.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType

import numpy as np

from ..datasets.mixing import is_silent

#: Length of the windows of BSS Eval in seconds; they do not overlap.
BSS_WINDOW_S = 1.0


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-distortion ratio of the whole signal in dB; inf if equal, NaN if the reference is silent.

    Raises ValueError if the shapes differ.
    """
    _same_shape(reference, estimate)
    if is_silent(reference):
        return float("nan")
    return _db(_energy(reference), _energy(np.subtract(reference, estimate, dtype=np.float64)))


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant SDR in dB; NaN if reference or estimate is silent (no scale makes silence fit).

    Raises ValueError if the shapes differ.
    """
    _same_shape(reference, estimate)
    if is_silent(reference) or not np.any(estimate):
        return float("nan")
    s, e = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    target = s * (np.vdot(s, e) / np.vdot(s, s))
    return _db(_energy(target), _energy(e - target))


def nsdr(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> float:
    """``sdr(reference, estimate) - sdr(reference, mixture)`` in dB; NaN if the reference is silent."""
    return sdr(reference, estimate) - sdr(reference, mixture)


def bss_eval(
    references: dict[str, np.ndarray],
    estimates: dict[str, np.ndarray],
    sample_rate: int,
    *,
    window_s: float = BSS_WINDOW_S,
) -> dict[str, dict[str, np.ndarray]]:
    """BSS Eval v4 by museval: ``{stem: {"sdr" | "isr" | "sir" | "sar": (n_windows,) dB}}``.

    Windows of ``window_s`` without overlap, one 512-tap distortion filter a track. A window in which any reference or
    any estimate is all zeros is NaN for *every* stem; that is museval's rule. Stems that are silent throughout,
    in reference or estimate, cannot take part: they are left out (silent reference) or all NaN (silent estimate).
    """
    metrics = _museval_metrics()
    window = round(window_s * sample_rate)
    sounding = [stem for stem, reference in references.items() if not is_silent(reference)]
    taking_part = [stem for stem in sounding if np.any(estimates[stem])]
    scores = {}
    if taking_part:
        stack = [
            np.stack([np.atleast_2d(signals[stem]).T for stem in taking_part]).astype(np.float64)
            for signals in (references, estimates)
        ]
        for stem in taking_part:
            _same_shape(references[stem], estimates[stem])
        *found, _ = metrics.bss_eval(*stack, window=window, hop=window)
        scores = {
            stem: dict(zip(("sdr", "isr", "sir", "sar"), (values[i] for values in found)))
            for i, stem in enumerate(taking_part)
        }
    n_windows = len(next(iter(scores.values()))["sdr"]) if scores else 0
    nothing = dict.fromkeys(("sdr", "isr", "sir", "sar"), np.full(n_windows, np.nan))
    return {stem: scores.get(stem, nothing) for stem in sounding}


@cache
def _museval_metrics() -> ModuleType:
    """``museval.metrics`` alone: importing the package needs an ffmpeg binary, which the metrics do not."""
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        raise ImportError("BSS Eval needs museval: pip install 'stemfeatures[evaluate]'")
    name = "museval.metrics"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "_museval_metrics", f"{package.submodule_search_locations[0]}/metrics.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def level_db(signal: np.ndarray, reference: np.ndarray) -> float:
    """Energy of ``signal`` over that of ``reference`` in dB; -inf if ``signal`` is all zeros."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(_energy(signal) / max(_energy(reference), np.finfo(np.float64).tiny)))


def _energy(signal: np.ndarray) -> float:
    flat = np.ravel(signal).astype(np.float64, copy=False)
    return float(np.dot(flat, flat))


def _db(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


def _same_shape(reference: np.ndarray, estimate: np.ndarray) -> None:
    if reference.shape != estimate.shape:
        raise ValueError(f"estimate {estimate.shape} and reference {reference.shape} differ in shape")
