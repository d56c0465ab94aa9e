"""The mix of a song: levels, room, echo, the marks of the recording, and the master."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.fft

from ...constants import STEMS
from ..compose.score import Score, pick, seeded_rng
from ..track import Track
from ..units import SR
from . import console, mastering
from .tape import TAPE, Tape

#: Active level of the stems in the mix, dB: mean and spread.
_STEM_LEVELS = {"vocals": (-19.0, 1.8), "drums": (-19.5, 2.0), "bass": (-20.0, 2.0), "other": (-20.5, 2.2)}
#: How often a recording has noise, and an echo.
NOISE, ECHO = 0.1, 0.35
NOISES = ("white", "pink", "hum")
#: How often one stem is far behind the others, which one, and by how many dB.
QUIET = 0.14
_QUIET_STEMS = {"drums": 0.5, "bass": 0.2, "vocals": 0.15, "other": 0.15}
_QUIET_DB = {"drums": (8.0, 20.0), "bass": (5.0, 14.0), "vocals": (4.0, 10.0), "other": (5.0, 12.0)}


def mix(score: Score, tracks: dict[str, Track], *, dry: bool) -> tuple[np.ndarray, Tape | None, dict[str, Any]]:
    """(4, 2, n) of the stems in the order of STEMS, mastered; the tape that changed their pitch; what was chosen."""
    rng = seeded_rng(score.seed, "mix")
    room = console.draw_room(rng)
    wet_db, echo_db = float(rng.uniform(-14, -4)), float(rng.uniform(-18, -8))
    use_echo = bool(rng.random() < ECHO)
    delay_s = 60.0 / score.tempo * float(pick(rng, (0.5, 0.75, 1.0)))
    ping_pong = bool(rng.random() < 0.5)
    settings = mastering.MasterSettings.draw(rng)
    noise = str(pick(rng, NOISES)) if rng.random() < NOISE else None
    noise_db = float(rng.uniform(-72, -48))
    quiet, quiet_db = _draw_quiet(seeded_rng(score.seed, "quiet"))
    tape = Tape.draw(seeded_rng(score.seed, "tape")) if seeded_rng(score.seed, "worn").random() < TAPE else None
    out = []
    balance: dict[str, float] = {}
    for stem in STEMS:
        track = tracks[stem]
        level = console.active_rms(track.dry)
        mean, spread = _STEM_LEVELS[stem]
        balance[stem] = float(rng.normal(mean, spread)) - (quiet_db if stem == quiet else 0.0)
        gain = np.float32(console.from_db(balance[stem]) / level) if level else np.float32(0)
        y: np.ndarray = track.dry * gain
        if level and not dry and np.any(track.send):
            send = track.send * gain
            y = y + np.float32(console.from_db(wet_db)) * console.reverberate(send, room)
            if use_echo and stem in ("vocals", "other"):
                y = y + np.float32(console.from_db(echo_db)) * console.echo(
                    send, delay_s, 0.45, ping_pong=ping_pong, cut_hz=3500.0
                )
        out.append(y)
    stems = np.stack(out)
    if dry:
        tape = None
    if tape is not None:
        stems = tape.play(stems)
    n = stems.shape[2]
    if noise is not None and not dry:  # it belongs to the accompaniment
        stems[STEMS.index("other")] += np.float32(console.from_db(noise_db)) * _noise(noise, n, rng)
    end, silent = int(0.4 * SR), round(score.lead_out_s * SR)  # the recording is faded out
    stems[:, :, n - silent - end : n - silent] *= np.linspace(1, 0, end, dtype=np.float32)
    stems[:, :, n - silent :] = 0
    if dry:
        stems *= np.float32(0.9 / max(1.0, float(np.abs(stems.sum(axis=0)).max()), float(np.abs(stems).max())))
    else:
        stems = mastering.master(stems, settings)
        # A stem alone may be louder than the mixture where stems cancel.
        stems *= np.float32(min(1.0, 0.999 / max(float(np.abs(stems).max()), 1e-9)))
    choices = {
        "balance_db": balance, "room_decay_s": room.decay_s, "wet_db": wet_db,
        "echo": {"delay_s": delay_s, "level_db": echo_db, "ping_pong": ping_pong} if use_echo else None,
        "quiet": {"stem": quiet, "by_db": quiet_db} if quiet else None, "tape": asdict(tape) if tape else None,
        "noise": {"kind": noise, "level_db": noise_db} if noise else None, "master": asdict(settings),
        "chances": {"noise": NOISE, "clipping": mastering.CLIPPING, "band_limits": mastering.BAND_LIMITS, "echo": ECHO,
                    "quiet": QUIET, "tape": TAPE, "width": {k: share for k, (share, _) in mastering.WIDTHS.items()}},
    }  # fmt: skip
    return stems, tape, choices


def _draw_quiet(rng: np.random.Generator) -> tuple[str | None, float]:
    """A stem that is far behind the others, if any, and by how many dB."""
    if rng.random() >= QUIET:
        return None, 0.0
    stem = str(rng.choice(list(_QUIET_STEMS), p=list(_QUIET_STEMS.values())))
    return stem, float(rng.uniform(*_QUIET_DB[stem]))


def _noise(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """(2, n) float32 of RMS 1: ``white`` or ``pink``, other on each side, or the ``hum`` of the mains on both."""
    if kind == "hum":
        mains = float(pick(rng, (50.0, 60.0)))
        t = np.arange(n, dtype=np.float32) / SR
        levels = [(k, 1.0 / k ** rng.uniform(0.7, 1.5)) for k in (1, 2, 3, 4, 5, 7, 9)]
        y = sum(np.float32(a) * np.sin(np.float32(2 * np.pi * k * mains) * t + rng.uniform(0, 6)) for k, a in levels)
        y = np.stack([y, y])
    else:
        y = rng.standard_normal((2, n), np.float32)
        if kind == "pink":  # power by 1 / f from 20 Hz on
            size = scipy.fft.next_fast_len(n, real=True)
            hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / SR), 20.0).astype(np.float32)
            y = scipy.fft.irfft(scipy.fft.rfft(y, size, axis=1) / np.sqrt(hertz), size, axis=1)[:, :n]
    return (y / np.sqrt(np.mean(np.square(y)))).astype(np.float32)
