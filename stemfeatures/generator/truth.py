"""What is true of a song."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .compose.grooves import Performance
from .compose.score import Score


@dataclass
class Truth:
    """What is true of a song; ``truth.json`` holds it field by field.

    Attributes
    ----------
    f0 : dict[str, Any]
        ``vocals``: a list of ``times_s`` and ``f0_hz`` (0 = unvoiced), one a voice, lead first; ``bass``: one such;
        ``other``: one a melodic line of a single player, with its ``player``.
    notes : dict[str, list[dict[str, float]]]
        By stem, ``start_s``, ``end_s``, ``midi`` (A4 = 69 = 440 Hz, fractional where the song is tuned otherwise;
        General MIDI keys for drums), ``velocity`` 0..1, ``technique`` where it is not the usual one.
    onsets_s : dict[str, list[float]]
        By stem, sorted. beats_s, beat_positions (1 = downbeat), downbeats_s : of the whole song.
    chords : list[dict[str, Any]]
        ``start_s``, ``end_s``, ``label`` (Harte; ``N`` where drums play alone).
    key : str
        ``"A:minor"``, the first of keys : ``time_s``, ``key`` where one begins.
    tempo : list[dict[str, float]]
        ``time_s``, ``bpm`` at changes.
    sections : list[dict[str, Any]]
        ``start_s``, ``end_s``, ``label``.
    lyrics : dict[str, list[dict[str, Any]]]
        ``words`` and ``lines`` of the lead with times.
    choices : dict[str, Any]
        Every random choice that matters.
    seed, version, sample_rate : int
        How to make the song again.
    """

    f0: dict[str, Any]
    notes: dict[str, list[dict[str, float]]]
    onsets_s: dict[str, list[float]]
    beats_s: list[float]
    beat_positions: list[int]
    downbeats_s: list[float]
    chords: list[dict[str, Any]]
    key: str
    keys: list[dict[str, Any]]
    tempo: list[dict[str, float]]
    sections: list[dict[str, Any]]
    lyrics: dict[str, list[dict[str, Any]]]
    choices: dict[str, Any]
    seed: int
    version: int
    sample_rate: int

    def to_json(self) -> str:
        """JSON text; times to 10 microseconds, F0 to a thousandth of a hertz."""
        return json.dumps(_plain(asdict(self)), separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 5)
    return int(value) if isinstance(value, np.integer) else bool(value) if isinstance(value, np.bool_) else value


def structure(score: Score) -> dict[str, Any]:
    grid = score.grid
    beats = grid.beat_s[:-1]
    positions = [(i - grid.pickup) % grid.beats_per_bar + 1 for i in range(len(beats))]
    tempo: list[dict[str, float]] = []
    for start, end in pairwise(grid.beat_s):
        bpm = 60.0 / float(end - start)
        if not tempo or abs(bpm / tempo[-1]["bpm"] - 1) > 1e-4:
            tempo.append({"time_s": float(start), "bpm": bpm})
    chords: list[dict[str, Any]] = []
    for chord in score.chords:
        label = chord.label if score.section_of(chord.bar).players - {"drums"} else "N"
        if chords and chords[-1]["label"] == label and abs(chords[-1]["end_s"] - chord.start_s) < 1e-6:
            chords[-1]["end_s"] = chord.end_s
        else:
            chords.append({"start_s": chord.start_s, "end_s": chord.end_s, "label": label})
    return {
        "beats_s": [float(b) for b in beats],
        "beat_positions": positions,
        "downbeats_s": [float(b) for b, p in zip(beats, positions) if p == 1],
        "chords": chords,
        "key": score.keys[0][1],
        "keys": [{"time_s": time, "key": key} for time, key in score.keys],
        "tempo": tempo,
        "sections": [{"start_s": s.start_s, "end_s": s.end_s, "label": s.label} for s in score.sections],
    }


def _described(groove: Performance, first_bar: int) -> dict[str, Any]:
    return {"performance": groove.name, "style": groove.style, "bpm": groove.bpm, "first_bar": first_bar}


def score_choices(score: Score) -> dict[str, Any]:
    return {
        "style": score.style.name,
        "metre": score.style.metre,
        "tempo_bpm": score.tempo,
        "swing": score.grid.swing,
        "groove": _described(score.groove, score.groove_bar) if score.groove is not None else None,
        "tuning_cents": score.tuning,
        "power_chords": score.power,
        "lineup": score.lineup,
        "pickup": {"kind": score.pickup_kind, "beats": score.grid.pickup} if score.pickup_kind else None,
        "arrangement": [
            {
                "label": s.label,
                "players": sorted(s.players),
                "transposition": s.transposition,
                "tempo": s.tempo,
                "half_time": s.half_time,
            }
            for s in score.sections
        ],
        "lead_out_s": score.lead_out_s,
        "stops_s": [list(stop) for stop in score.stops],
    }
