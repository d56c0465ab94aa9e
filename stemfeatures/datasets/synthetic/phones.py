"""Phones of the voice bank: what kind each is, and where each lies in the frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

VOWELS = frozenset("iɪɛæʌəɜɑɔʊuAIOWYᵊᵻ")
#: Capital letters are the diphthongs of day, my, go, now, boy.
DIPHTHONGS = frozenset("AIOWY")
SONORANTS = frozenset("mnŋlɹwjɾ")
VOICED_OBSTRUENTS = frozenset("bdɡʤvðzʒ")
_STRESS = frozenset("ˈˌ")


def kind(symbol: str) -> str:
    """``vowel``, ``sonorant``, ``voiced`` (obstruent), ``unvoiced`` or ``pause``."""
    if symbol in VOWELS:
        return "vowel"
    if symbol in SONORANTS:
        return "sonorant"
    if symbol in VOICED_OBSTRUENTS:
        return "voiced"
    return "pause" if symbol == " " else "unvoiced"


def is_unvoiced(symbol: str) -> bool:
    return kind(symbol) in ("unvoiced", "pause")


def align_phones(
    symbols: np.ndarray,
    token: Mapping[str, np.ndarray],
    envelope: np.ndarray,
    rate: int,
    *,
    unit_s: float,
    lag_s: float,
) -> dict[str, np.ndarray]:
    """Phones with times from the tokens of a text-to-speech network, whose stress marks have durations of their own."""
    duration = token["duration"] * unit_s
    begin = np.maximum(np.cumsum(duration) - duration - lag_s, 0.0)
    end = np.maximum(begin + duration, begin + 0.005)
    out: dict[str, list] = {name: [] for name in ("symbol", "nucleus", "stressed", "word", "begin_s", "end_s")}
    mark, stress_from = False, 0.0
    for k, symbol in enumerate(symbols):
        if symbol in _STRESS:
            mark, stress_from = True, begin[k]
            continue
        if token["class"][k] in ("pad", "end"):
            continue
        nucleus = token["class"][k] == "nu"
        out["symbol"].append(symbol)
        out["nucleus"].append(nucleus)
        out["stressed"].append(nucleus and mark)
        out["word"].append(token["word"][k])
        out["begin_s"].append(stress_from if mark else begin[k])
        out["end_s"].append(min(end[k], len(envelope) * 0.005))
        mark = False
    return {name: np.array(values) for name, values in out.items()}
