"""What the file name of a recorded sound says: the note, or the drum."""

from __future__ import annotations

import re

_PITCH_CLASS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


_NOTE_NAME = re.compile(
    r"(?<![A-Za-z])([A-Ga-g])(b|#|s)?(-?\d)?(?![a-zA-Z0-9]|\d)|(?<=_)([A-Ga-g])(b|#|s)?(\d)(?=v|mp|pp|f|p)"
)


#: Drum roles by words in the file name, first match wins.
DRUM_ROLES = (
    ("kick", ("kick", "kdrum", "bd_", "bobobo_bass", "stomp", "drum_bass", "drum_heavy", "cajon_dyn_cajon_rl")),
    ("snare", ("snare", "_sn_", "sn_", "_sd", "rl_cnd", "drum_snare", "clap", "rim", "stick", "snap")),
    ("open_hat", ("hihatopen", "open_vel", "hat-open", "cymbal_open", "sh-hat")),
    ("hat", ("hihat", "hat", "cabasa", "maraca", "shaker", "tamb", "castagnette", "cymbal_closed", "cymbal_pedal")),
    ("crash", ("crash", "china", "splash", "cymbal")),
    ("ride", ("ride", "bell")),
    ("tom", ("tom", "conga", "bongo", "quinto", "tabla", "belly", "chest", "cajon", "bobobo", "cuica", "hit")),
)


def drum_role(name: str) -> str:
    """Role of a drum one-shot from its file name; ``"loop"`` for loops, ``"perc"`` when no word matches."""
    name = name.lower()
    if "loop" in name:
        return "loop"
    return next((role for role, words in DRUM_ROLES if any(w in name for w in words)), "perc")


def note_name_to_midi(name: str) -> tuple[int, bool] | None:
    """``(midi, octave_known)`` from a file name such as ``sustain_gb4_pp_rr3`` or None; C4 = 60."""
    stem = name.rsplit(".", 1)[0]
    best = None
    for m in _NOTE_NAME.finditer(stem):
        letter, accidental, octave = (m[1], m[2], m[3]) if m[1] else (m[4], m[5], m[6])
        semitone = _PITCH_CLASS[letter.lower()] + {"b": -1, "#": 1, "s": 1}.get(accidental or "", 0)
        if octave is not None:
            return 12 * (int(octave) + 1) + semitone, True
        best = (60 + semitone, False)
    return best
