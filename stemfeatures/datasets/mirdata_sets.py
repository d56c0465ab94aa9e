"""Data sets that mirdata loads, in the form of :mod:`.multitrack`.

mirdata (Bittner et al., ISMIR 2019) knows where each data set keeps its files and parses its labels; this module says
which of its attributes are *truth*, of which stem, and how the channels are to be read. Annotations that an algorithm
made (the pYIN notes of iKala and MedleyDB-Pitch, the melody of cante100, Saraga and the CompMusic raga sets, all of
the Jazz Trio Database) are not truth and are left out. Audio is decoded by :mod:`stemfeatures.audio` with all its
channels at the rate of the file; mirdata would average the channels, and resample some sets.

A track whose audio is not there is left out of the list: DALI, for one, comes without.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import MIXTURE
from ..errors import CatalogError
from .annotations import (
    F0,
    Annotations,
    Beats,
    Lyrics,
    Notes,
    Segment,
    hz_to_midi,
    make_beats,
    make_f0,
    make_notes,
    midi_to_hz,
)
from .multitrack import MultiTrack, MultitrackDataset, read_audio
from .registry import register_dataset

log = logging.getLogger(__name__)

#: An attribute of the mirdata track, or a function of it.
Access = str | Callable[[Any], Any]


@dataclass(frozen=True)
class Facts:
    """What a data set's attributes mean.

    Attributes
    ----------
    f0, notes : Mapping[str, Access], default={}
        ``{stem: attribute}``; ``solo`` as the stem stands for the stem that is recorded.
    beats, chords, sections, key : Access, optional
        Attributes.
    words, lines : Access, optional
        Attributes of the lyrics.
    artist : Access, optional
        The artist or singer, the unit of splits; None where the data set has none.
    audio : Access, default='audio_path'
        The attribute with the path of the recording.
    channels : tuple[str, ...], default=()
        Stems by channel, for recordings of *sources* on channels; the mixture is their sum.
    solo : Access, optional
        The recording is this stem alone.
    split : Access, optional
        The data set's own split.
    """

    f0: Mapping[str, Access] = field(default_factory=dict)
    notes: Mapping[str, Access] = field(default_factory=dict)
    beats: Access | None = None
    chords: Access | None = None
    sections: Access | None = None
    key: Access | None = None
    words: Access | None = None
    lines: Access | None = None
    language: Access | None = None
    artist: Access | None = None
    audio: Access = "audio_path"
    channels: tuple[str, ...] = ()
    solo: Access | None = None
    split: Access | None = None


def _always(value: str) -> Callable[[Any], str]:
    return lambda track: value


def _instrument_stem(track: Any) -> str:
    """The stem of a MedleyDB instrument."""
    instrument = str(track.instrument or "").lower()
    if any(word in instrument for word in ("singer", "vocal", "rapper", "choir", "beatboxing")):
        return "vocals"
    return "bass" if "bass" in instrument.split() else "other"


_BEATS = Facts(beats="beats")
_RHYTHM = Facts(beats="beats", artist="artist")
_RWC = Facts(beats="beats", sections="sections", artist="artist")

#: Every data set of mirdata whose F0, beats, notes or lyrics are truth.
FACTS: dict[str, Facts] = {
    "ballroom": _BEATS,
    "beatles": Facts(beats="beats", chords="chords", sections="sections", key="key", artist=_always("The Beatles")),
    "brid": _BEATS,
    "candombe": _BEATS,
    "compmusic_carnatic_rhythm": _RHYTHM,
    "compmusic_carnatic_varnam": Facts(beats="taala", artist="artist"),
    "compmusic_hindustani_rhythm": _RHYTHM,
    "compmusic_jingju_acappella": Facts(words="syllable", lines="phrase", solo=_always("vocals")),
    "cuidado": _BEATS,
    # One singer of the choir a track, by the larynx microphone, the only one without the others in it.
    "dagstuhl_choirset": Facts(
        f0={"solo": "f0_manual_lrx"}, notes={"solo": "score"}, audio="audio_lrx_path", solo=_always("vocals")
    ),
    "dali": Facts(notes={"vocals": "notes"}, words="words", lines="lines", language="language", artist="artist"),
    "groove_midi": Facts(beats="beats", artist="drummer", solo=_always("drums"), split="split"),
    "gtzan_genre": _BEATS,
    "guitarset": Facts(
        f0={"solo": "pitch_contours"},
        notes={"solo": "notes_all"},
        beats="beats",
        chords="inferred_chords",
        key="key_mode",
        artist="player_id",
        audio="audio_mic_path",
        solo=_always("guitar"),
    ),
    "hainsworth": _BEATS,
    "ikala": Facts(f0={"vocals": "f0"}, words="lyrics", artist="singer_id", channels=("accompaniment", "vocals")),
    "maestro": Facts(notes={"solo": "notes"}, solo=_always("piano"), split="split"),
    "mdb_stem_synth": Facts(
        f0={"solo": "f0"}, artist=lambda track: track.track_id.split("_")[0], solo=_always("other")
    ),
    # 1: the most prominent source, often but not always the voice; 2: whatever leads; 3: every melodic line.
    "medleydb_melody": Facts(f0={"melody1": "melody1", "melody2": "melody2", "melody3": "melody3"}, artist="artist"),
    "medleydb_pitch": Facts(f0={"solo": "pitch"}, artist="artist", solo=_instrument_stem),
    # By composer, so that no work is in two parts; the performers are not stated.
    "orchset": Facts(f0={"melody": "melody"}, artist="composer", audio="audio_path_stereo"),
    "rwc_classical": _RWC,
    "rwc_jazz": _RWC,
    "rwc_popular": Facts(beats="beats", sections="sections", chords="chords", artist="artist"),
    # Resynthesised to its melody; the split keeps artists apart.
    "scms": Facts(f0={"vocals": "pitch"}, artist="artist", split=lambda track: "train" if track.train else "test"),
    "simac": _BEATS,
    "tonas": Facts(f0={"solo": "f0_corrected"}, notes={"solo": "notes"}, artist="singer", solo=_always("vocals")),
    # Of the two annotators of the notes the first; the words have no times.
    "vocadito": Facts(
        f0={"solo": "f0"},
        notes={"solo": "notes_a1"},
        lines="lyrics",
        language="language",
        artist="singer_id",
        solo=_always("vocals"),
    ),
}


class MirdataTrack(MultiTrack):
    """One track of a mirdata data set; ``track`` is mirdata's own."""

    lists_unvoiced = False

    def __init__(self, track: Any, dataset: str, version: str) -> None:
        self.name = str(track.track_id)
        self.dataset = dataset
        self.track = track
        self.version = version
        self.facts = FACTS[dataset]

    def __reduce__(self) -> tuple[Any, ...]:
        # mirdata's tracks hold functions and cannot travel
        return _reopen, (self.dataset, self.track._data_home, self.version, self.name)

    @cached_property
    def artist(self) -> str | None:  # type: ignore[override]
        found = self._get(self.facts.artist)
        return None if found is None else str(found)

    @cached_property
    def split(self) -> str | None:  # type: ignore[override]
        found = self._get(self.facts.split)
        return {"validation": "valid"}.get(found, found)

    @property
    def solo(self) -> str | None:
        """The stem that the recording consists of, or None for mixtures."""
        return self._get(self.facts.solo)

    @property
    def stem_names(self) -> tuple[str, ...]:
        return self.facts.channels or ((self.solo,) if self.solo else ())

    @property
    def tasks(self) -> frozenset[str]:
        """As of every track; a recording of one stem alone holds no truth for separation."""
        return super().tasks - {"separation"} if self.solo else super().tasks

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        if stem not in (MIXTURE, *self.stem_names):
            raise KeyError(stem)
        samples, sample_rate = read_audio(Path(self.source()))
        channels = self.facts.channels
        if not channels:
            return samples, sample_rate
        if len(samples) != len(channels):
            raise CatalogError(
                f"{len(samples)} channel(s), expected {len(channels)}: {', '.join(channels)}", source=self.source()
            )
        i = channels.index(stem) if stem != MIXTURE else None
        return (samples.sum(axis=0, keepdims=True) if i is None else samples[i : i + 1]), sample_rate

    def source(self, stem: str = MIXTURE) -> str:
        return str(self._get(self.facts.audio))

    def annotations(self) -> Annotations:
        return self._annotations

    @cached_property
    def _annotations(self) -> Annotations:
        facts = self.facts
        lyrics = Lyrics(
            self._converted(facts.words, _segments) or (),
            self._converted(facts.lines, _segments) or (),
            self._get(facts.language),
        )
        return Annotations(
            f0=self._by_stem(facts.f0, _voices),
            beats=self._converted(facts.beats, _beats),
            notes=self._by_stem(facts.notes, _notes),
            chords=self._converted(facts.chords, _segments) or (),
            sections=self._converted(facts.sections, _segments) or (),
            key=self._converted(facts.key, lambda data: data.keys[0] if len(data.keys) else None),
            lyrics=lyrics if lyrics.words or lyrics.lines else None,
        )

    def _by_stem(self, accesses: Mapping[str, Access], convert: Callable[[Any], Any]) -> dict[str, Any]:
        found = {stem: self._converted(access, convert) for stem, access in accesses.items()}
        return {self.solo if stem == "solo" else stem: data for stem, data in found.items() if data}  # type: ignore[misc]

    def _converted(self, access: Access | None, convert: Callable[[Any], Any]) -> Any:
        data = self._get(access)
        try:
            return None if data is None else convert(data)
        except (ValueError, TypeError) as error:
            raise CatalogError(f"{access}: {error}", source=f"{self.dataset}/{self.name}") from error

    def _get(self, access: Access | None) -> Any:
        if access is None:
            return None
        try:
            return getattr(self.track, access) if isinstance(access, str) else access(self.track)
        except Exception as error:  # mirdata's parsers raise whatever a malformed file makes them trip over
            what = access if isinstance(access, str) else "attribute"
            raise CatalogError(
                f"mirdata cannot read {what}: {type(error).__name__}: {error}", source=f"{self.dataset}/{self.name}"
            ) from error


@register_dataset("mirdata", has_variants=True)
def mirdata_dataset(data_home: str | Path, name: str, *, version: str = "default") -> MultitrackDataset:
    """Open a data set that mirdata knows.

    Nothing is downloaded. The index, which says what files there are, must have been fetched once:
    ``mirdata.initialize(name).download(["index"])``.

    Parameters
    ----------
    data_home : str or Path
        The folder that mirdata's documentation calls so.
    name : str
        A key of :data:`FACTS`.
    version : str
        Of the index, as mirdata names it.

    Returns
    -------
    MultitrackDataset
        The tracks whose audio is there.

    Raises
    ------
    CatalogError
        A data set without truth of ours or unknown; no index; no audio.
    ImportError
        mirdata is not installed, or what it needs for this data set.
    """
    if name not in FACTS:
        raise CatalogError(f"unknown, expected one of {', '.join(FACTS)}", source=f"mirdata:{name}")
    dataset = _initialize(name, data_home, version)
    try:
        track_ids = dataset.track_ids
    except FileNotFoundError as error:
        raise CatalogError(
            f'mirdata has no index for it yet; fetch it once with mirdata.initialize("{name}").download(["index"])',
            source=f"mirdata:{name}",
        ) from error
    tracks = []
    for track_id in sorted(track_ids):
        track = MirdataTrack(dataset.track(track_id), name, version)
        if Path(track.source()).is_file():
            tracks.append(track)
    if not tracks:
        raise CatalogError(
            f"none of the {len(track_ids)} tracks of mirdata:{name} has audio here", source=str(data_home)
        )
    if len(tracks) < len(track_ids):
        log.warning("mirdata:%s: %d of %d tracks have no audio", name, len(track_ids) - len(tracks), len(track_ids))
    return MultitrackDataset(name, tracks)


def _initialize(name: str, data_home: str | Path, version: str) -> Any:
    try:
        import mirdata
    except ImportError as error:
        raise ImportError("mirdata is not installed: pip install 'stemfeatures[datasets]'") from error
    try:
        return mirdata.initialize(name, data_home=str(data_home), version=version)
    except (ValueError, KeyError) as error:  # KeyError: the default version is not in mirdata's own list (simac)
        message = f"mirdata has no such version: {error}"
        raise CatalogError(message, source=f"mirdata:{name}") from error
    except ImportError as error:
        raise ImportError(f"mirdata needs more for {name}: pip install 'mirdata[{name}]'") from error


def _reopen(name: str, data_home: str, version: str, track_id: str) -> MirdataTrack:
    return MirdataTrack(_initialize(name, data_home, version).track(track_id), name, version)


def _voices(data: Any) -> tuple[F0, ...]:
    """F0Data, MultiF0Data, or a dictionary of F0Data, as voices."""
    if isinstance(data, dict):
        return tuple(voice for part in data.values() if part is not None for voice in _voices(part))
    times = _in_seconds(data.times, data.time_unit)
    if hasattr(data, "frequency_list"):
        # The frequencies of a frame have no order that holds from frame to frame: the i-th highest is voice i.
        rows = [
            sorted(_in_hz(np.array(row, np.float64), data.frequency_unit), reverse=True) for row in data.frequency_list
        ]
        n_voices = max(map(len, rows), default=0)
        table = np.zeros((n_voices, len(rows)))
        for i, row in enumerate(rows):
            table[: len(row), i] = row
        return tuple(make_f0(times, voice) for voice in table)
    hz = _in_hz(np.asarray(data.frequencies, np.float64), data.frequency_unit)
    return (make_f0(times, np.where(np.asarray(data.voicing) > 0, hz, 0.0)),)


def _beats(data: Any) -> Beats:
    """Positions that do not count beats in the bar are not known."""
    in_bar = data.positions is not None and data.position_unit == "bar_index"
    return make_beats(_in_seconds(data.times, data.time_unit), data.positions if in_bar else None)


def _notes(data: Any) -> Notes:
    intervals = _in_seconds(data.intervals, data.interval_unit)
    pitches = np.asarray(data.pitches, np.float64)
    if data.pitch_unit not in ("hz", "midi"):
        raise ValueError(f"pitches in {data.pitch_unit}")
    midi = hz_to_midi(pitches) if data.pitch_unit == "hz" else pitches
    return make_notes(intervals[:, 0], intervals[:, 1], midi)


def _segments(data: Any) -> tuple[Segment, ...]:
    """ChordData, SectionData, LyricData; or lists of words a line, without times."""
    if isinstance(data, list):
        return tuple(Segment(float("nan"), float("nan"), " ".join(words)) for words in data if words)
    intervals = _in_seconds(data.intervals, getattr(data, "interval_unit", "s"))  # ChordData does not keep its unit
    labels: Iterable[str] = data.lyrics if hasattr(data, "lyrics") else (data.labels or [""] * len(intervals))
    return tuple(Segment(float(start), float(end), str(label)) for (start, end), label in zip(intervals, labels))


def _in_seconds(times: Any, unit: str) -> np.ndarray:
    if unit not in ("s", "ms"):
        raise ValueError(f"times in {unit}")
    return np.asarray(times, np.float64) / (1000.0 if unit == "ms" else 1.0)


def _in_hz(values: np.ndarray, unit: str) -> np.ndarray:
    if unit not in ("hz", "midi"):
        raise ValueError(f"frequencies in {unit}")
    return values if unit == "hz" else midi_to_hz(values)
