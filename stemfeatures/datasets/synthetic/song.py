"""Songs: a score played, sung and mixed, with everything that is true of it.

:func:`generate_song` is a function of its arguments alone: the same seed, banks and version give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...constants import MIXTURE, STEMS
from ...errors import DatasetError
from . import console
from .codecs import CODECS, codec_round_trip
from .composer import DRUM_KEYS, Note, Part, Score, compose, part_rng, pick
from .instruments import Instrument, make_instrument, make_kit
from .mastering import on_grid
from .mix import mix
from .note_bank import NoteBank
from .styles import STYLES
from .synths import SR, midi_to_hz
from .track import F0_HOP_S, Track, add_at, note_truth
from .vocals import sing_score

if TYPE_CHECKING:
    from .recording_bank import RecordingBank
    from .voice import VoiceBank

VERSION = 2
SHORTEST_SONG_S = 8.0
TRUTH_FILE = "truth.json"
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


@dataclass
class Truth:
    """What is true of a song; ``truth.json`` holds it field by field.

    Attributes
    ----------
    f0 : ``vocals``: a list of ``times_s`` and ``f0_hz`` (0 = unvoiced), one a voice, lead first; ``bass``: one such.
    notes : by stem, ``start_s``, ``end_s``, ``midi`` (A4 = 69 = 440 Hz, fractional where the song is tuned otherwise;
        General MIDI keys for drums), ``velocity`` 0..1.
    onsets_s : by stem, sorted. beats_s, beat_positions (1 = downbeat), downbeats_s : of the whole song.
    chords : ``start_s``, ``end_s``, ``label`` (Harte; ``N`` where drums play alone). key : ``"A:minor"``, the first of
        keys : ``time_s``, ``key`` where one begins. tempo : ``time_s``, ``bpm`` at changes.
    sections : ``start_s``, ``end_s``, ``label``. lyrics : ``words`` and ``lines`` of the lead with times.
    choices : every random choice that matters. seed, version, sample_rate : how to make the song again.
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


@dataclass
class Song:
    """A song in memory.

    Attributes
    ----------
    stems : vocals, drums, bass, other: (2, n) float32 at 44.1 kHz within -1..1, on a grid of 24 bits.
    truth : what is true of them.
    """

    stems: dict[str, np.ndarray]
    truth: Truth

    @property
    def mixture(self) -> np.ndarray:
        """(2, n) float32: the sum of the stems, exact."""
        return np.stack([self.stems[s] for s in STEMS]).sum(axis=0, dtype=np.float64).astype(np.float32)

    @property
    def coded_mixture(self) -> np.ndarray | None:
        """(2, n) float32: the mixture after the lossy codec of ``choices["codec"]`` and back; None without one."""
        codec = self.truth.choices.get("codec") or {}
        return codec_round_trip(self.mixture, codec["name"], codec["quality"]) if codec.get("name") else None

    @property
    def duration_s(self) -> float:
        return self.stems["vocals"].shape[1] / SR


def generate_song(
    seed: int,
    *,
    duration_s: float | None = None,
    style: str | None = None,
    notes: NoteBank | None = None,
    voices: VoiceBank | None = None,
    recordings: RecordingBank | None = None,
    codec_chance: float = 0.0,
    dry: bool = False,
) -> Song:
    """Compose, play, sing and mix song ``seed``.

    Parameters
    ----------
    duration_s : about how long, at least 8; drawn from 60 to 150 s by default.
    style : one of :data:`.styles.STYLES`; drawn by default.
    notes : recorded instruments; synthesised ones alone by default.
    voices : the singers; by default those that come with the package.
    recordings : phrases of real voices, which then sing in about half the songs, the lead in a third.
    codec_chance : how often a song has a :attr:`Song.coded_mixture`.
    dry : no room, echo, dynamics or master: for measuring the truth.

    Raises
    ------
    ValueError : unknown style, too short, a chance beyond 0 to 1.
    """
    if style is not None and style not in STYLES:
        raise ValueError(f"unknown style {style!r}; there are: {', '.join(STYLES)}")
    if duration_s is not None and not SHORTEST_SONG_S <= duration_s <= 3600:
        raise ValueError(f"a song lasts {SHORTEST_SONG_S:.0f} to 3600 s, not {duration_s}")
    if not 0 <= codec_chance <= 1:
        raise ValueError(f"codec_chance must be 0 to 1, not {codec_chance}")
    score = compose(seed, duration_s=duration_s, style=style)
    n = round(score.duration_s * SR)
    n_frames = int(n / SR / F0_HOP_S) + 1
    drums = _play_drums(score, n, notes)
    bass, bass_f0 = _play_bass(score, n, notes, n_frames)
    other = _play_others(score, n, notes)
    vocals, voice_f0, lyrics = sing_score(score, n, voices, n_frames, recordings)
    tracks = {"vocals": vocals, "drums": drums, "bass": bass, "other": other}
    mixed, mix_choices = mix(score, tracks, dry=dry)
    stems = {s: on_grid(mixed[k]) for k, s in enumerate(STEMS)}
    times = F0_HOP_S * np.arange(n_frames)
    truth = Truth(
        f0={
            "vocals": [{"times_s": times, "f0_hz": f0} for f0 in voice_f0],
            "bass": {"times_s": times, "f0_hz": bass_f0},
        },
        notes={s: tracks[s].notes for s in STEMS},
        onsets_s={s: sorted({round(e["start_s"], 5) for e in tracks[s].notes}) for s in STEMS},
        **_structure(score),
        lyrics=lyrics,
        choices={
            "request": describe_request(duration_s, style, notes, voices, recordings, codec_chance),
            **_score_choices(score),
            **{s: tracks[s].choices for s in STEMS},
            "mix": mix_choices,
            "codec": _draw_codec(part_rng(seed, "codec"), codec_chance),
        },
        seed=seed,
        version=VERSION,
        sample_rate=SR,
    )
    return Song(stems, truth)


def _draw_codec(rng: np.random.Generator, chance: float) -> dict[str, Any]:
    coded = bool(rng.random() < chance)
    name, quality = str(pick(rng, CODECS)), float(rng.random())
    return {"chance": chance, "name": name if coded else None, "quality": quality if coded else None}


def write_song(song: Song, folder: str | Path, *, subtype: str = "PCM_16") -> Path:
    """Write ``mixture``, ``vocals``, ``drums``, ``bass``, ``other`` as FLAC, and ``truth.json``; returns the folder.

    In integers of ``subtype`` (``PCM_16`` or ``PCM_24``) the stems sum to the mixture exactly. A song with a codec has
    ``mixture_coded`` besides.

    Raises
    ------
    DatasetError : the sum is beyond full scale (it never is for generated songs). ValueError : unknown subtype.
    """
    import soundfile

    if subtype not in ("PCM_16", "PCM_24"):
        raise ValueError(f"subtype must be PCM_16 or PCM_24, not {subtype!r}")
    bits = int(subtype[-2:])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = {s: np.round(song.stems[s].astype(np.float64) * 2 ** (bits - 1)).astype(np.int32) for s in STEMS}
    whole[MIXTURE] = np.sum([whole[s] for s in STEMS], axis=0, dtype=np.int32)
    for name, samples in whole.items():
        if samples.max(initial=0) >= 2 ** (bits - 1) or samples.min(initial=0) < -(2 ** (bits - 1)):
            raise DatasetError(f"{name} is beyond full scale", source=str(folder), stage="generate")
        soundfile.write(folder / f"{name}.flac", samples.T << (32 - bits), SR, subtype=subtype)
    if (coded := song.coded_mixture) is not None:
        soundfile.write(folder / f"{MIXTURE}_coded.flac", np.clip(coded.T, -1, 1), SR, subtype=subtype)
    (folder / TRUTH_FILE).write_text(song.truth.to_json() + "\n", encoding="utf-8")
    return folder


def describe_request(
    duration_s: float | None,
    style: str | None,
    notes: NoteBank | None,
    voices: VoiceBank | None,
    recordings: RecordingBank | None = None,
    codec_chance: float = 0.0,
) -> dict[str, Any]:
    """What was asked for, as ``choices`` records it: equal requests, seeds and versions make equal songs."""
    return {
        "duration_s": duration_s,
        "style": style,
        "notes": notes.fingerprint if notes is not None else None,
        "voices": sorted(voices.singers) if voices is not None else None,
        "recordings": recordings.fingerprint if recordings is not None else None,
        "codec_chance": codec_chance,
    }


# -- truth --------------------------------------------------------------------------------------------------------


def _structure(score: Score) -> dict[str, Any]:
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
        label = chord.label if score.section_of(chord.bar).parts - {"drums"} else "N"
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


def _score_choices(score: Score) -> dict[str, Any]:
    return {
        "style": score.style.name,
        "metre": score.style.metre,
        "tempo_bpm": score.tempo,
        "swing": score.grid.swing,
        "tuning_cents": score.tuning,
        "power_chords": score.power,
        "lineup": score.lineup,
        "pickup": {"kind": score.pickup_kind, "beats": score.grid.pickup} if score.pickup_kind else None,
        "arrangement": [
            {
                "label": s.label,
                "parts": sorted(s.parts),
                "transposition": s.transposition,
                "tempo": s.tempo,
                "half_time": s.half_time,
            }
            for s in score.sections
        ],
        "lead_out_s": score.lead_out_s,
        "stops_s": [list(stop) for stop in score.stops],
    }


# -- drums, bass, other -------------------------------------------------------------------------------------------


def _play_drums(score: Score, n: int, notes: NoteBank | None) -> Track:
    rng = part_rng(score.seed, "drum-sounds")
    track = Track.silent(n)
    kit = make_kit(score.kit, notes, rng)
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
    track.choices = {"kit": kit.name, "kind": score.kit}
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


def _bend(y: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """``y`` played at a speed of ``ratio`` (one value a sample)."""
    place = np.cumsum(ratio, dtype=np.float64)
    place = np.clip(place - place[0], 0, len(y) - 2)
    left = place.astype(np.int64)
    part = (place - left).astype(np.float32)
    return y[left] * (1 - part) + y[left + 1] * part


def _bend_curve(note: Note, t: np.ndarray, slide_s: float) -> np.ndarray:
    """Semitones against the note's pitch at ``t`` seconds after its start."""
    cents = np.zeros(len(t))
    if note.slide:
        cents += note.slide * (0.5 + 0.5 * np.cos(np.pi * np.clip(t / slide_s, 0, 1)))
    if note.fall:
        length = note.end_s - note.start_s
        cents -= note.fall * np.clip((t - 0.65 * length) / (0.35 * length), 0, 1) ** 1.5
    return cents


def _sound(instrument: Instrument, note: Note, hertz: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) of one note with its slides."""
    duration = note.end_s - note.start_s
    y = instrument.note(hertz, duration, note.velocity, rng)
    if note.slide or note.fall:
        t = np.arange(len(y)) / SR
        y = _bend(y, 2 ** (_bend_curve(note, t, _slide_s(note)) / 12))
    return y


def _slide_s(note: Note) -> float:
    return min(0.12, 0.4 * (note.end_s - note.start_s))


def _play_bass(score: Score, n: int, notes: NoteBank | None, n_frames: int) -> tuple[Track, np.ndarray]:
    rng = part_rng(score.seed, "bass-sounds")
    track = Track.silent(n)
    f0 = np.zeros(n_frames)
    instrument = make_instrument(score.bass_family, notes, rng)
    track.choices = {"instrument": instrument.name, "family": score.bass_family, "figure": score.bass_kind}
    mono: np.ndarray = np.zeros(n, np.float32)
    for k, note in enumerate(score.bass):
        hertz = midi_to_hz(note.midi + score.tuning / 100)
        y = _sound(instrument, note, hertz, rng)
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
    electric = score.bass_family == "electric_bass"
    drive = float(rng.choice([0.0, rng.uniform(4, 14), rng.uniform(14, 26)], p=[0.45, 0.4, 0.15])) if electric else 0.0
    if score.bass_family in ("sub_bass", "synth_bass") and rng.random() < 0.5:
        drive = float(rng.uniform(3, 15))
    if drive and electric:
        clean = mono
        mono = 0.5 * clean + 0.5 * console.amplify(mono, drive, rng)
    elif drive:
        mono = console.saturate(mono, drive)
    bands = [("low_cut", 28.0, 0.0, 0.7), ("low_shelf", 90.0, float(rng.uniform(-2, 3)), 0.7),
             ("peak", float(rng.uniform(500, 1500)), float(rng.uniform(-3, 5)), 0.8),
             ("high_shelf", 3000.0, float(rng.uniform(-6, 5)), 0.7)]  # fmt: skip
    depth = float(rng.uniform(4, 10))
    mono = console.compress(console.equalise(mono, bands), rng, depth_db=depth, ratio=4.0)
    if score.style.name == "four_to_the_floor":
        mono = mono * _pump(score, n, rng, track)
    track.add(console.pan(mono, 0.0), float(rng.uniform(0, 0.04)))
    track.choices |= {"drive_db": drive, "compression_db": depth}
    return track, f0


def _pump(score: Score, n: int, rng: np.random.Generator, track: Track) -> np.ndarray:
    depth = float(rng.uniform(3, 14))
    track.choices["ducking_db"] = depth
    return console.duck(n, [h.time_s for h in score.drums if h.role == "kick"], depth, 0.09)


def _play_others(score: Score, n: int, notes: NoteBank | None) -> Track:
    rng = part_rng(score.seed, "other-sounds")
    track = Track.silent(n)
    track.choices["parts"] = []
    for index, part in enumerate(score.parts):
        _play_part(score, part, index, n, notes, part_rng(score.seed, "other-sounds", part.name), track)
    if len(track.notes):
        track.notes.sort(key=lambda e: (e["start_s"], e["midi"]))
        if score.style.name == "four_to_the_floor" and rng.random() < 0.7:
            gain = _pump(score, n, rng, track)
            track.dry *= gain
            track.send *= gain
    return track


def _play_part(
    score: Score, part: Part, index: int, n: int, notes: NoteBank | None, rng: np.random.Generator, track: Track
) -> None:
    guitar = part.family in ("electric_guitar", "clean_guitar")
    drive = 0.0
    if part.kind == "power" or (part.family == "electric_guitar" and rng.random() < max(0.5, score.style.drive)):
        drive = float(rng.uniform(14, 38))
    elif guitar and rng.random() < 0.4:
        drive = float(rng.uniform(2, 10))
    twice = bool(guitar and drive > 10 and part.kind == "power" and rng.random() < 0.75)
    takes = []
    for take in range(2 if twice else 1):
        instrument = make_instrument(part.family, notes, rng)
        mono = np.zeros(n, np.float32)
        for note in part.notes:
            hertz = midi_to_hz(note.midi + score.tuning / 100)
            played = note if not take else _again(note, rng)
            add_at(mono, _sound(instrument, played, hertz, rng), played.start_s)
        if not np.any(mono):
            return
        if drive:
            mono = console.amplify(mono, drive, rng)
        takes.append(mono)
    bands = console.draw_tone(rng, strength_db=2.0, low_cut=float(rng.uniform(70, 220)))
    spread = part.family in ("pad", "strings", "epiano", "organ", "clean_guitar") and rng.random() < 0.55
    place = float(rng.uniform(0.15, 0.8)) * (1 if index % 2 else -1) if part.kind not in ("pad", "lead") else 0.0
    if twice:
        stereo = console.pan(takes[0], -0.9) + console.pan(takes[1], 0.9)
        stereo = console.equalise(stereo, bands)
    else:
        mono = console.equalise(takes[0], bands)
        mono = console.compress(mono, rng, depth_db=float(rng.uniform(2, 7))) if part.kind != "pad" else mono
        stereo = console.chorus(mono, rng) if spread else console.pan(mono, place)
    level = {"lead": -18.0, "pad": -25.0, "power": -18.5}.get(part.kind, -21.0) + rng.normal(0, 1.5)
    gain = np.float32(console.from_db(level) / max(console.active_rms(stereo), 1e-9))
    track.add(stereo * gain, float(rng.uniform(0.05, 0.5)) * (0.4 if drive > 10 else 1.0))
    track.notes += [note_truth(note, score) for note in part.notes]
    track.choices["parts"].append(
        {"name": part.name, "kind": part.kind, "instrument": instrument.name, "drive_db": drive, "doubled": twice,
         "pan": place, "chorus": bool(spread)}
    )  # fmt: skip


def _again(note: Note, rng: np.random.Generator) -> Note:
    """The same note in a second take."""
    late = float(rng.normal(0, 0.006))
    start = max(0.0, note.start_s + late)
    return Note(start, max(note.end_s + late, start + 0.05), note.midi, note.velocity, note.slide, note.fall)
