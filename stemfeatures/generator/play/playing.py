"""Drums and bass, played; single notes with their techniques."""

from __future__ import annotations

import numpy as np

from ..compose.score import DRUM_KEYS, Note, Score, seeded_rng
from ..mix import console
from ..track import F0_HOP_S, Track, add_at, note_truth
from ..units import SR, midi_to_hz
from .amplifiers import Amplifier
from .instruments import Instrument, make_instrument, make_kit
from .note_bank import NoteBank

#: How electric basses are struck, in funk and elsewhere.
BASS_ATTACKS = {
    "funk": {"finger": 0.4, "pick": 0.15, "slap": 0.45}, "": {"finger": 0.55, "pick": 0.35, "slap": 0.1},
}  # fmt: skip
#: How often the kick drum is tuned to the song's tonic, the bass's own octave.
_TUNED_KICK = 0.3
#: Seconds in which a palm-muted string falls to 1/e.
_PALM_MUTE_S = 0.055
#: Peak of a drum role in dB, before the kit's own balance.
_DRUM_LEVELS = {
    "kick": 0.0, "snare": -2.0, "rim": -7.0, "clap": -5.0, "hat": -14.0, "pedal_hat": -16.0, "open_hat": -14.0,
    "ride": -14.0, "crash": -10.0, "tom_high": -4.0, "tom_mid": -4.0, "tom_low": -3.0, "shaker": -16.0,
    "tambourine": -13.0, "cowbell": -12.0,
}  # fmt: skip
_DRUM_PLACES = {
    "hat": 0.35, "pedal_hat": 0.35, "open_hat": 0.35, "ride": -0.4, "crash": 0.45, "tom_high": 0.3, "tom_mid": 0.0,
    "tom_low": -0.35, "shaker": -0.5, "tambourine": 0.5, "cowbell": 0.3, "clap": 0.1,
}  # fmt: skip


def play_drums(score: Score, n: int, notes: NoteBank | None) -> Track:
    rng = seeded_rng(score.seed, "drum-sounds")
    track = Track.silent(n)
    kit = make_kit(score.kit, notes, rng)
    if rng.random() < _TUNED_KICK:
        kit.tune_kick(midi_to_hz(28 + (score.tonic - 28) % 12 + score.tuning / 100))
    levels = {r: console.from_db(db + rng.normal(0, 2.0)) for r, db in _DRUM_LEVELS.items()}
    width = float(rng.uniform(-1, 1))
    hits = score.drums
    chokes = np.array([h.time_s for h in hits if h.role in ("hat", "pedal_hat")])
    buses = {"low": np.zeros(n, np.float32)}
    cymbals = np.zeros((2, n), np.float32)
    shells = np.zeros((2, n), np.float32)
    for hit in hits:
        y = kit.hit(hit.role, hit.velocity, rng) * np.float32(levels[hit.role])
        if hit.role == "open_hat":
            later = chokes[chokes > hit.time_s + 0.03]
            if len(later):
                cut = int((later[0] - hit.time_s) * SR)
                y[cut:] = y[cut:] * np.exp(-np.arange(len(y[cut:]), dtype=np.float32) / np.float32(0.012 * SR))
        if hit.role == "kick":
            add_at(buses["low"], y, hit.time_s)
        else:
            place = float(np.clip(_DRUM_PLACES.get(hit.role, 0.0) * width, -1, 1))
            shell = hit.role in ("snare", "rim", "clap", "tom_high", "tom_mid", "tom_low")
            _place_panned(shells if shell else cymbals, y, place, hit.time_s)
        track.notes.append(
            {"start_s": hit.time_s, "end_s": min(hit.time_s + len(y) / SR, n / SR), "midi": DRUM_KEYS[hit.role],
             "velocity": hit.velocity}
        )  # fmt: skip
    track.choices = {"kit": kit.name, "kind": score.kit, "kick_hz": kit.kick_hz}
    if not hits:
        return track
    kick = console.equalise(
        buses["low"], [("peak", rng.uniform(55, 90), rng.uniform(0, 4), 1.0), ("peak", 350.0, -3.0, 0.8)]
    )
    track.add(console.pan(kick, 0.0), 0.03)
    track.add(console.equalise(shells, console.draw_tone(rng, strength_db=1.5)), float(rng.uniform(0.1, 0.45)))
    track.add(console.equalise(cymbals, [("low_cut", rng.uniform(200, 500), 0.0, 0.7)]), 0.08)
    drive = float(rng.choice([0.0, rng.uniform(3, 12)], p=[0.6, 0.4]))
    depth = float(rng.uniform(2, 9))
    squashed = console.compress(track.dry, rng, depth_db=depth, ratio=4.0)
    track.dry = console.saturate(squashed, drive) if drive else squashed
    track.choices |= {"drive_db": drive, "compression_db": depth}
    return track


def _place_panned(out: np.ndarray, y: np.ndarray, place: float, time_s: float) -> None:
    angle = (place + 1) * np.pi / 4
    for channel, gain in zip(out, (np.cos(angle), np.sin(angle))):
        add_at(channel, y * np.float32(np.sqrt(2) * gain), time_s)


def _bend_curve(note: Note, t: np.ndarray, slide_s: float) -> np.ndarray:
    """Semitones against the note's pitch at ``t`` seconds after its start."""
    cents = np.zeros(len(t))
    if note.slide:
        cents += note.slide * (0.5 + 0.5 * np.cos(np.pi * np.clip(t / slide_s, 0, 1)))
    if note.fall:
        length = note.end_s - note.start_s
        cents -= note.fall * np.clip((t - 0.65 * length) / (0.35 * length), 0, 1) ** 1.5
    return cents


def sound(instrument: Instrument, note: Note, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) of one note with its slides, as its technique has it."""
    duration = note.end_s - note.start_s
    y = instrument.note(hertz, duration, note.velocity, rng)
    if note.slide or note.fall:
        t = np.arange(len(y)) / SR
        y = console.resampled(y, 2 ** (_bend_curve(note, t, _slide_s(note)) / 12))
    if note.technique == "palm_mute":  # the hand lies on the bridge
        y = y[: int(0.3 * SR)] * np.exp(-np.arange(len(y[: int(0.3 * SR)])) / (_PALM_MUTE_S * SR)).astype(np.float32)
        y = console.equalise(y, [("high_cut", 1100.0, 0.0, 0.7)])
    elif note.technique == "harmonic":  # a finger on a node: hardly anything but the sounding pitch
        y = console.equalise(y, [("high_cut", 2.5 * hertz, 0.0, 0.7)])
    return y


def _slide_s(note: Note) -> float:
    return min(0.12, 0.4 * (note.end_s - note.start_s))


def play_bass(score: Score, n: int, notes: NoteBank | None, n_frames: int) -> tuple[Track, np.ndarray]:
    rng = seeded_rng(score.seed, "bass-sounds")
    track = Track.silent(n)
    f0 = np.zeros(n_frames)
    instrument = make_instrument(score.bass_family, notes, rng)
    electric = score.bass_family == "electric_bass"
    weights = BASS_ATTACKS["funk" if score.bass_kind in ("funk", "octaves") else ""]
    attack = str(rng.choice(list(weights), p=list(weights.values()))) if electric else "finger"
    track.choices = {"instrument": instrument.name, "family": score.bass_family, "figure": score.bass_kind,
                     "attack": attack}  # fmt: skip
    mono: np.ndarray = np.zeros(n, np.float32)
    for k, note in enumerate(score.bass):
        hertz = midi_to_hz(note.midi + score.tuning / 100)
        y = strike_string(sound(instrument, note, hertz, rng), attack, note.velocity, rng)
        following = score.bass[k + 1].start_s if k + 1 < len(score.bass) else np.inf
        room = int((following - note.start_s) * SR) if np.isfinite(following) else len(y)
        if room < len(y):  # one string: the next note ends this one
            y = y[:room].copy()
            y[-200:] *= np.linspace(1, 0, len(y[-200:]), dtype=np.float32)
        if note.ghost:  # a muted string: all attack, no pitch to speak of
            y = y[: int(0.05 * SR)] * np.exp(-np.arange(len(y[: int(0.05 * SR)])) / (0.012 * SR)).astype(np.float32)
            add_at(mono, y, note.start_s)
            continue
        add_at(mono, y, note.start_s)
        first = int(np.ceil(note.start_s / F0_HOP_S))
        last = min(int(note.end_s / F0_HOP_S), n_frames - 1)
        t = np.arange(first, last + 1) * F0_HOP_S - note.start_s
        f0[first : last + 1] = hertz * 2 ** (_bend_curve(note, t, _slide_s(note)) / 12)
        track.notes.append(note_truth(note, score))
    if not score.bass:
        return track, f0
    drive = 0.0
    if electric:
        mono = _through_amplifier(mono, score, rng, track)
    elif score.bass_family in ("sub_bass", "synth_bass") and rng.random() < 0.5:
        drive = float(rng.uniform(3, 15))
        mono = console.saturate(mono, drive)
    bands = [("low_cut", 28.0, 0.0, 0.7), ("low_shelf", 90.0, float(rng.uniform(-2, 3)), 0.7),
             ("peak", float(rng.uniform(500, 1500)), float(rng.uniform(-3, 5)), 0.8),
             ("high_shelf", 3000.0, float(rng.uniform(-6, 5)), 0.7)]  # fmt: skip
    depth = float(rng.uniform(4, 10))
    mono = console.compress(console.equalise(mono, bands), rng, depth_db=depth, ratio=4.0)
    if score.style.name == "four_to_the_floor":
        mono = mono * pump(score, n, rng, track)
    track.add(console.pan(mono, 0.0), float(rng.uniform(0, 0.04)))
    track.choices |= {"drive_db": drive, "compression_db": depth}
    return track, f0


def strike_string(y: np.ndarray, attack: str, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) float32: a bass note as a ``finger`` plucks it, or with what a ``pick`` or a ``slap`` adds above 400 Hz.

    A pick clicks and leaves the string brighter; slapped, the string hits the frets and rattles there for a while.
    """
    if attack == "finger":
        return y
    n = min(len(y), int(0.35 * SR))
    t = np.arange(n) / SR
    closing = 1 - np.arange(n) / max(n, 1)
    if attack == "pick":
        bright, decay_s, gain = ("low_cut", 700.0, 0.0, 0.7), 0.12, 5.0
        low, high, click_s, click = 1200.0, 6500.0, 0.004, 1.0
    else:
        bright, decay_s, gain = ("low_cut", 1100.0, 0.0, 0.7), 0.09, 9.0
        low, high, click_s, click = 500.0, 9000.0, 0.009, 2.0
    y = y.copy()
    level = float(np.sqrt(np.mean(np.square(y[:n])))) if n else 0.0
    driven = np.tanh(y[:n] / max(1.5 * level, 1e-9)) * np.float32(level)  # harmonics for the upper band to have
    rattle = (closing * np.exp(-t / decay_s)).astype(np.float32)
    y[:n] += gain * velocity * console.equalise(driven, [bright]) * rattle
    noise = rng.standard_normal(n).astype(np.float32) * np.exp(-t / click_s).astype(np.float32)
    y[:n] += console.equalise(noise, [("low_cut", low, 0.0, 0.7), ("high_cut", high, 0.0, 0.7)]) * np.float32(
        click * velocity * level
    )
    return y.astype(np.float32)


def _through_amplifier(mono: np.ndarray, score: Score, rng: np.random.Generator, track: Track) -> np.ndarray:
    """Direct, or blended with an amplifier that is driven the more the style asks for it."""
    if rng.random() < 0.4:
        track.choices["amplifier"] = None
        return mono
    weights = np.array([0.35, 0.35, 0.1 + score.style.drive, 0.05 + 0.2 * score.style.drive])
    kind = str(rng.choice(["clean", "crunch", "drive", "fuzz"], p=weights / weights.sum()))
    amplifier, blend = Amplifier.draw(kind, rng, bass=True), float(rng.uniform(0.25, 0.7))
    track.choices["amplifier"] = {"kind": kind, "gain_db": amplifier.gain_db, "blend": blend}
    return np.float32(1 - blend) * mono + np.float32(blend) * amplifier.play(mono)


def pump(score: Score, n: int, rng: np.random.Generator, track: Track) -> np.ndarray:
    """(n,) gain that ducks under the kick."""
    depth = float(rng.uniform(3, 14))
    track.choices["ducking_db"] = depth
    return console.duck(n, [h.time_s for h in score.drums if h.role == "kick"], depth, 0.09)
