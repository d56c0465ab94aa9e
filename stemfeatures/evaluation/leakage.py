"""Which stem ends up in which, by band: where a separator fails.

A mask M on a mixture treats all its stems alike: the estimate ``M X`` is the sum of ``M S_j`` over the true stems
``S_j``, and the energy of ``M S_j`` tells how much of stem j is in the estimate. For estimates that are not made by a
mask, M is the ratio of their magnitude to that of the mixture, at most 1.

Two figures say it, over all bands and in each of :data:`BANDS_HZ`: the *level* in dB of a true stem in an estimate,
relative to the true stem that belongs there (0 if nothing was lost, -10 if a tenth as much energy is foreign), and the
*share* of the true stem's own energy that the estimate holds. Masks that sum to one leave shares that sum to less.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._util.numba_cache import import_librosa
from .estimators.references import stft_grid

#: Edges in Hz of the bands that are told apart; the last one ends at half the sample rate.
BANDS_HZ = (0.0, 150.0, 400.0, 1000.0, 3000.0, 8000.0)
#: All bands together and each for itself, in words.
BANDS = (
    "all",
    *(f"{low:g} to {high:g} Hz" for low, high in zip(BANDS_HZ, BANDS_HZ[1:])),
    f"above {BANDS_HZ[-1]:g} Hz",
)
#: Columns of the levels in dB and of the shares, in the order of :data:`BANDS`.
LEVELS = ("level_db", *(f"level_from_{edge:g}_hz_db" for edge in BANDS_HZ))
SHARES = ("share", *(f"share_from_{edge:g}_hz" for edge in BANDS_HZ))
#: Level of nothing at all in dB, and the share of a stem's energy below which a band of it is called empty.
_FLOOR_DB, _EMPTY = -60.0, 1e-6
_IN = " in "


def pair_name(source: str, estimate: str) -> str:
    """What a row of the table is called: ``drums in vocals``."""
    return f"{source}{_IN}{estimate}"


def pair_of(name: str) -> tuple[str, str]:
    """The true stem and the estimate of :func:`pair_name`."""
    source, _, estimate = name.rpartition(_IN)
    return source, estimate


def leakage(
    stems: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], sample_rate: int
) -> dict[tuple[str, str], np.ndarray]:
    """Energy of true stems in estimates.

    Parameters
    ----------
    stems : Mapping of str to numpy.ndarray
        True stems by name, mono ``(n_samples,)``; the mixture is their sum.
    estimates : Mapping of str to numpy.ndarray
        Estimates by name, mono ``(n_samples,)``.
    sample_rate : int
        Hz.

    Returns
    -------
    dict of tuple to numpy.ndarray
        ``{(estimate, stem): (n_bands,)}`` energies, and ``{("", stem): ...}`` of the true stems themselves.

    Raises
    ------
    ValueError
        The signals are not mono or not equally long.
    """
    librosa = import_librosa()
    if len({np.shape(y) for y in (*stems.values(), *estimates.values())}) != 1 or next(iter(stems.values())).ndim != 1:
        raise ValueError("stems and estimates must be mono and equally long")
    n_fft, hop = stft_grid(sample_rate)

    def spectrum(y: np.ndarray) -> np.ndarray:
        return librosa.stft(np.asarray(y, np.float32), n_fft=n_fft, hop_length=hop)

    truth = {name: spectrum(y) for name, y in stems.items()}
    mixture = np.abs(sum(truth.values()))
    hertz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    band = np.searchsorted(BANDS_HZ, hertz, side="right") - 1

    def energies(power: np.ndarray) -> np.ndarray:
        return np.bincount(band, weights=power.sum(axis=1, dtype=np.float64), minlength=len(BANDS_HZ))

    power = {name: np.abs(s) ** 2 for name, s in truth.items()}
    found = {("", name): energies(p) for name, p in power.items()}
    for name, y in estimates.items():
        mask = np.minimum(np.abs(spectrum(y)) / np.maximum(mixture, 1e-9), 1.0) ** 2
        found |= {(name, stem): energies(mask * p) for stem, p in power.items()}
    return found


def leakage_scores(
    stems: Mapping[str, np.ndarray], estimates: Mapping[str, np.ndarray], sample_rate: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Levels and shares of true stems in estimates.

    Parameters
    ----------
    stems : Mapping of str to numpy.ndarray
        True stems by name, mono ``(n_samples,)``; the mixture is their sum.
    estimates : Mapping of str to numpy.ndarray
        Estimates of some of these stems, mono ``(n_samples,)``.
    sample_rate : int
        Hz.

    Returns
    -------
    dict of tuple to dict
        ``{(estimate, stem): {column: value}}`` with the columns :data:`LEVELS` in dB (-60 at least) and
        :data:`SHARES` (0..1). NaN where the stem that belongs there, or the true stem, has nothing in the band; a
        silent estimate's own stem leaves it out.

    Raises
    ------
    ValueError
        The signals are not mono or not equally long.
    """
    found = leakage(stems, estimates, sample_rate)
    whole = {key: np.concatenate([[energy.sum()], energy]) for key, energy in found.items()}

    def ratio(energy: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.divide(energy, of, out=np.full(len(energy), np.nan), where=of > _EMPTY * of[0])

    scores = {}
    for (estimate, stem), energy in whole.items():
        if not estimate or not whole["", estimate][0]:
            continue
        levels = 10 * np.log10(np.maximum(ratio(energy, whole["", estimate]), 10 ** (_FLOOR_DB / 10)))
        shares = ratio(energy, whole["", stem])
        scores[estimate, stem] = {k: float(v) for k, v in zip((*LEVELS, *SHARES), (*levels, *shares))}
    return scores
