"""The instruments of the stem ``other``, played, amplified and placed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..compose.score import Note, Player, Score, seeded_rng
from ..mix import console
from ..track import Track, add_at, note_truth
from ..units import midi_to_hz
from .amplifiers import Amplifier, draw_kind, draw_pedal, wah
from .instruments import Instrument, make_instrument
from .line import TECHNIQUES, Line, LineStyle, play_line
from .note_bank import NoteBank
from .playing import pump, sound

#: How often instruments other than electric guitars go through an amplifier.
_AMPLIFIED = {"clean_guitar": 0.5, "organ": 0.25, "synth_lead": 0.15, "epiano": 0.15, "clavinet": 0.2}
#: Active level of a player in dB; its spread is 1.5.
_LEVELS = {"lead": -18.0, "tune": -16.0, "pad": -25.0, "power": -18.5}


@dataclass
class Chain:
    """What the sound of a player goes through.

    Attributes
    ----------
    amplifiers : list[Amplifier]
        One a take, empty for none.
    wah : tuple[str, np.ndarray] | None
        How the pedal moves, and (n,) where it is.
    """

    amplifiers: list[Amplifier]
    wah: tuple[str, np.ndarray] | None

    @property
    def driven(self) -> bool:
        return any(a.kind != "clean" for a in self.amplifiers)

    @property
    def loud(self) -> bool:
        """Whether it can feed back."""
        return any(a.kind in ("drive", "high_gain", "fuzz") for a in self.amplifiers)

    @classmethod
    def draw(cls, score: Score, player: Player, n: int, takes: int, rng: np.random.Generator) -> Chain:
        electric = player.family == "electric_guitar"
        amplified = electric or player.kind == "power" or rng.random() < _AMPLIFIED.get(player.family, 0.0)
        if not amplified:
            return cls([], None)
        drive = score.style.drive if electric else 0.0
        if player.kind in ("lead", "tune") and electric:
            drive = max(drive, 0.6)
        kind = draw_kind(drive, rng)
        if player.kind == "power" and kind == "clean":
            kind = "drive"
        pedal = None
        if player.kind not in ("power", "pad") and "guitar" in player.family and rng.random() < 0.12:
            pedal = draw_pedal(n, 60.0 / score.tempo, rng)
        return cls([Amplifier.draw(kind, rng) for _ in range(takes)], pedal)

    def play(self, y: np.ndarray, take: int) -> np.ndarray:
        """(n,): ``y`` through the pedal and the amplifier of this take."""
        y = wah(y, self.wah[1]) if self.wah is not None else y
        return self.amplifiers[take].play(y) if self.amplifiers else y

    def choices(self) -> dict[str, Any]:
        described = [{k: v for k, v in asdict(a).items() if k != "cabinet"} for a in self.amplifiers]
        return {"amplifiers": described, "wah": self.wah[0] if self.wah is not None else None}


def play_others(
    score: Score, n: int, notes: NoteBank | None, n_frames: int
) -> tuple[Track, list[tuple[str, np.ndarray]]]:
    """The track of ``n`` samples, and the player and the (n_frames,) F0 of every melodic line in it."""
    rng = seeded_rng(score.seed, "other-sounds")
    track = Track.silent(n)
    track.choices["players"] = []
    lines: list[tuple[str, np.ndarray]] = []
    for index, player in enumerate(score.players):
        line = _play(score, player, index, n_frames, notes, seeded_rng(score.seed, "other-sounds", player.name), track)
        if line is not None and np.any(line.f0_hz):
            lines.append((player.name, line.f0_hz))
    if len(track.notes):
        track.notes.sort(key=lambda e: (e["start_s"], e["midi"]))
        if score.style.name == "four_to_the_floor" and rng.random() < 0.7:
            gain = pump(score, n, rng, track)
            track.dry *= gain
            track.send *= gain
    return track, lines


def _play(
    score: Score,
    player: Player,
    index: int,
    n_frames: int,
    notes: NoteBank | None,
    rng: np.random.Generator,
    track: Track,
) -> Line | None:
    """Add a player to the track; the line it played if it is one player's melody."""
    n = track.dry.shape[1]
    if not player.notes:
        return None
    twice = player.kind == "power" and "guitar" in player.family and rng.random() < 0.75
    chain = Chain.draw(score, player, n, 2 if twice else 1, rng)
    melodic = player.kind in ("lead", "tune", "riff") and player.family in TECHNIQUES
    style = LineStyle.draw(player.family, rng)
    line, takes = None, []
    for take in range(2 if twice else 1):
        instrument = make_instrument(player.family, notes, rng)
        if melodic:
            line = play_line(player.notes, instrument, style, score.tuning, n, n_frames, rng, feedback=chain.loud)
            mono = line.audio
        else:
            damped = _damped(player, notes, rng)
            mono = _strike(player.notes, instrument, damped, score, n, rng, again=bool(take))
        takes.append(chain.play(mono, take))
    if not np.any(takes[0]):
        return None
    if line is not None:
        line.mute_truth_where_silent(takes[0])
    choices: dict[str, Any] = {"name": player.name, "kind": player.kind, "instrument": instrument.name}
    choices |= chain.choices() | {"doubled": twice}
    if line is not None:
        choices |= {"line": asdict(style), "gestures": dict(sorted(line.gestures.items()))}
    _place(takes, player, index, chain, rng, track, choices)
    track.notes += [note_truth(note, score) for note in player.notes]
    return line


def _damped(player: Player, notes: NoteBank | None, rng: np.random.Generator) -> Instrument | None:
    """A recorded guitar under the hand, for half of the players who palm-mute; the others damp what rings."""
    muted = any(note.technique == "palm_mute" for note in player.notes)
    if not muted or notes is None or not notes.by_family.get("muted_guitar") or rng.random() < 0.5:
        return None
    return make_instrument("muted_guitar", notes, rng)


def _strike(
    notes: list[Note],
    instrument: Instrument,
    damped: Instrument | None,
    score: Score,
    n: int,
    rng: np.random.Generator,
    *,
    again: bool,
) -> np.ndarray:
    """(n,) of notes each on its own; a second take is never like the first."""
    mono = np.zeros(n, np.float32)
    for note in notes:
        played = _again(note, rng) if again else note
        hertz = midi_to_hz(note.midi + score.tuning / 100)
        if damped is not None and note.technique == "palm_mute":
            y = damped.note(hertz, played.end_s - played.start_s, played.velocity, rng)
        else:
            y = sound(instrument, played, hertz, rng)
        add_at(mono, y, played.start_s)
    return mono


def _place(
    takes: list[np.ndarray],
    player: Player,
    index: int,
    chain: Chain,
    rng: np.random.Generator,
    track: Track,
    choices: dict[str, Any],
) -> None:
    """Tone, dynamics, place and level of a player in the track."""
    bands = console.draw_tone(rng, strength_db=2.0, low_cut=float(rng.uniform(70, 220)))
    spread = player.family in ("pad", "strings", "epiano", "organ", "clean_guitar") and rng.random() < 0.55
    solo = player.kind in ("lead", "tune")
    place = float(rng.uniform(0.15, 0.8)) * (1 if index % 2 else -1) if player.kind != "pad" and not solo else 0.0
    if len(takes) == 2:
        stereo = console.equalise(console.pan(takes[0], -0.9) + console.pan(takes[1], 0.9), bands)
    else:
        mono = console.equalise(takes[0], bands)
        mono = console.compress(mono, rng, depth_db=float(rng.uniform(2, 7))) if player.kind != "pad" else mono
        stereo = console.chorus(mono, rng) if spread else console.pan(mono, place)
    level = _LEVELS.get(player.kind, -21.0) + rng.normal(0, 1.5)
    gain = np.float32(console.from_db(level) / max(console.active_rms(stereo), 1e-9))
    track.add(stereo * gain, float(rng.uniform(0.05, 0.5)) * (0.4 if chain.driven and not solo else 1.0))
    track.choices["players"].append(choices | {"pan": place, "chorus": bool(spread)})


def _again(note: Note, rng: np.random.Generator) -> Note:
    """The same note in a second take."""
    late = float(rng.normal(0, 0.006))
    start = max(0.0, note.start_s + late)
    end = max(note.end_s + late, start + 0.05)
    return Note(start, end, note.midi, note.velocity, note.slide, note.fall, technique=note.technique)
