"""Songs: a score played, sung and mixed, with everything that is true of it.

:func:`generate_song` is a function of its arguments alone: the same seed, banks and version give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.files import write_replace
from ..constants import MIXTURE, STEMS
from ..errors import DatasetError
from .compose.composer import compose
from .compose.form import LINEUPS
from .compose.grooves import GrooveBank
from .compose.score import Score, pick, seeded_rng
from .compose.styles import STYLES
from .mix.codecs import CODECS, codec_round_trip
from .mix.desk import mix
from .mix.mastering import on_grid
from .mix.tape import Tape
from .play.note_bank import NoteBank
from .play.others import play_others
from .play.playing import play_bass, play_drums
from .sing.vocals import sing_score
from .track import F0_HOP_S, Track
from .truth import Truth, score_choices, structure
from .units import SR

if TYPE_CHECKING:
    from .sing.recording_bank import RecordingBank
    from .sing.voice import VoiceBank

__all__ = ["F0_HOP_S", "VERSION", "Song", "Truth", "describe_request", "generate_song", "write_song"]

VERSION = 5
SHORTEST_SONG_S = 8.0
TRUTH_FILE = "truth.json"


@dataclass
class Song:
    """A song in memory.

    Attributes
    ----------
    stems : dict[str, np.ndarray]
        Vocals, drums, bass, other: (2, n) float32 at 44.1 kHz within -1..1, on a grid of 24 bits.
    truth : Truth
        What is true of them.
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
    grooves: GrooveBank | None = None,
    codec_chance: float = 0.0,
    rubato: float = 0.0,
    lineup: str | None = None,
    dry: bool = False,
) -> Song:
    """Compose, play, sing and mix song ``seed``.

    Parameters
    ----------
    seed : int
        Number of the song.
    duration_s : float, optional
        About how long, 8 to 3600 s; drawn from 60 to 150 s by default.
    style : str, optional
        One of :data:`.compose.styles.STYLES`; drawn by default.
    notes : NoteBank, optional
        Recorded instruments; synthesised ones alone by default.
    voices : VoiceBank, optional
        The singers; by default those that come with the package.
    recordings : RecordingBank, optional
        Phrases of real voices, which then sing in about half the songs, the lead in a third.
    grooves : GrooveBank, optional
        Recorded drum performances, for most songs that have drums; written drum patterns alone by default.
    codec_chance : float
        How often a song has a :attr:`Song.coded_mixture`, 0 to 1.
    rubato : float
        How far the tempo swings from phrase to phrase: deviation of the logarithm of the beat periods, 0 to 0.5.
    lineup : str, optional
        One of :data:`.compose.form.LINEUPS`, who plays at all (``instrumental`` has no singer, and mostly an instrument
        with the tune); drawn by default.
    dry : bool
        No room, echo, dynamics or master: for measuring the truth.

    Returns
    -------
    Song
        Its stems and what is true of them.

    Raises
    ------
    ValueError
        Unknown style or line-up, too short or too long, a chance beyond 0 to 1, rubato beyond 0 to 0.5.
    """
    _check_wishes(duration_s, style, lineup, codec_chance, rubato)
    score = compose(seed, duration_s=duration_s, style=style, grooves=grooves, rubato=rubato, lineup=lineup)
    n = round(score.duration_s * SR)
    n_frames = int(n / SR / F0_HOP_S) + 1
    drums = play_drums(score, n, notes)
    bass, bass_f0 = play_bass(score, n, notes, n_frames)
    other, lines_f0 = play_others(score, n, notes, n_frames)
    vocals, voice_f0, lyrics = sing_score(score, n, voices, n_frames, recordings)
    tracks = {"vocals": vocals, "drums": drums, "bass": bass, "other": other}
    mixed, tape, mix_choices = mix(score, tracks, dry=dry)
    stems = {s: on_grid(mixed[k]) for k, s in enumerate(STEMS)}
    f0 = {
        "vocals": [_contour(f0, tape) for f0 in voice_f0],
        "bass": _contour(bass_f0, tape),
        "other": [_contour(f0, tape) | {"player": player} for player, f0 in lines_f0],
    }
    request = describe_request(duration_s, style, notes, voices, recordings, codec_chance, grooves, lineup)
    choices = {
        "request": request | ({"rubato": rubato} if rubato else {}),
        "mix": mix_choices,
        "codec": _draw_codec(seeded_rng(seed, "codec"), codec_chance),
    }
    return Song(stems, _truth(score, tracks, f0, lyrics, choices))


def _check_wishes(
    duration_s: float | None, style: str | None, lineup: str | None, codec_chance: float, rubato: float
) -> None:
    if style is not None and style not in STYLES:
        raise ValueError(f"unknown style {style!r}; there are: {', '.join(STYLES)}")
    if lineup is not None and lineup not in LINEUPS:
        raise ValueError(f"unknown line-up {lineup!r}; there are: {', '.join(LINEUPS)}")
    if duration_s is not None and not SHORTEST_SONG_S <= duration_s <= 3600:
        raise ValueError(f"a song lasts {SHORTEST_SONG_S:.0f} to 3600 s, not {duration_s}")
    if not 0 <= codec_chance <= 1:
        raise ValueError(f"codec_chance must be 0 to 1, not {codec_chance}")
    if not 0 <= rubato <= 0.5:
        raise ValueError(f"rubato must be 0 to 0.5, not {rubato}")


def _truth(
    score: Score, tracks: dict[str, Track], f0: dict[str, Any], lyrics: dict[str, Any], choices: dict[str, Any]
) -> Truth:
    return Truth(
        f0=f0,
        notes={s: tracks[s].notes for s in STEMS},
        onsets_s={s: sorted({round(e["start_s"], 5) for e in tracks[s].notes}) for s in STEMS},
        **structure(score),
        lyrics=lyrics,
        choices={
            "request": choices["request"],
            **score_choices(score),
            **{s: tracks[s].choices for s in STEMS},
            "mix": choices["mix"],
            "codec": choices["codec"],
        },
        seed=score.seed,
        version=VERSION,
        sample_rate=SR,
    )


def _contour(f0_hz: np.ndarray, tape: Tape | None) -> dict[str, Any]:
    heard = f0_hz if tape is None else tape.shift(f0_hz)
    return {"times_s": F0_HOP_S * np.arange(len(f0_hz)), "f0_hz": heard}


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
    DatasetError
        The sum is beyond full scale (it never is for generated songs).
    ValueError
        Unknown subtype.
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
    write_replace(folder / TRUTH_FILE, f"{song.truth.to_json()}\n".encode())  # a song with its truth is whole
    return folder


def describe_request(
    duration_s: float | None,
    style: str | None,
    notes: NoteBank | None,
    voices: VoiceBank | None,
    recordings: RecordingBank | None = None,
    codec_chance: float = 0.0,
    grooves: GrooveBank | None = None,
    lineup: str | None = None,
) -> dict[str, Any]:
    """What was asked for, as ``choices`` records it: equal requests, seeds and versions make equal songs."""
    request = {
        "duration_s": duration_s,
        "style": style,
        "notes": notes.fingerprint if notes is not None else None,
        "voices": sorted(voices.singers) if voices is not None else None,
        "recordings": recordings.fingerprint if recordings is not None else None,
        "grooves": grooves.fingerprint if grooves is not None else None,
        "codec_chance": codec_chance,
    }
    # Songs made before there was this wish are equal to those made without it.
    return request | ({"lineup": lineup} if lineup else {})
