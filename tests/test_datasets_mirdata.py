"""Data sets of mirdata: small ones, written where the index of each says, and read by mirdata itself."""

import importlib
import inspect
import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.datasets import mirdata_sets
from stemfeatures.datasets.mirdata_sets import FACTS, MirdataTrack
from stemfeatures.datasets.mixing import mixture_residual_db
from stemfeatures.datasets.multitrack import MultitrackDataset
from stemfeatures.datasets.opening import find_tracks, open_dataset
from stemfeatures.datasets.splits import split_by_artist
from stemfeatures.errors import CatalogError

pytest.importorskip("mirdata", reason="needs the extra 'datasets'")
from mirdata import annotations, core

RATE = 8000
#: A file of the index: its key, its path, and what is written there (audio if samples).
Files = dict[str, tuple[str, str | np.ndarray]]
Opener = Callable[..., MultitrackDataset]


def samples(*levels: float, seconds: float = 1.0) -> np.ndarray:
    """Channels of constant level."""
    return np.repeat(np.array([levels]), round(RATE * seconds), axis=0)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Write tracks at the paths of an index, the index where mirdata looks for it, and open the data set."""

    def write(name: str, tracks: dict[str, Files], metadata: dict[str, str] | None = None) -> MultitrackDataset:
        home = tmp_path / name
        index: dict[str, dict] = {"version": "sample", "tracks": {}}
        for track_id, files in tracks.items():
            index["tracks"][track_id] = {}
            for key, (path, content) in files.items():
                index["tracks"][track_id][key] = [path or None, "checksum"]
                if path:
                    write_file(home / path, content)
        for path, content in (metadata or {}).items():
            write_file(home / path, content)
        index_path = tmp_path / f"{name}_index.json"
        index_path.write_text(json.dumps(index))
        monkeypatch.setattr(core.Index, "get_path", lambda self: str(index_path))
        return open_dataset(f"mirdata:{name}", home)

    return write


def write_file(path: Path, content: str | np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        soundfile.write(path, content, RATE, subtype="FLOAT", format="WAV")


def ikala(track_id: str, levels: tuple[float, ...] = (0.25, 0.5)) -> Files:
    return {
        "audio": (f"Wavfile/{track_id}.wav", samples(*levels)),
        "pitch": (f"PitchLabel/{track_id}.pv", "0.0\n69.0\n57.0\n"),
        "lyrics": (f"Lyrics/{track_id}.lab", "100 400 你 ni3\n500 900 好 hao3\n"),
        "notes_pyin": (f"ikala-pyin-notes/{track_id}_vamp_pyin_pyin_notes.csv", "0.1,0.2,220.0\n"),
    }


IKALA_SINGERS = {"id_mapping.txt": "singer\tid\n1\t10161\n1\t10164\n2\t10170\n"}


def test_ikala_has_the_accompaniment_left_and_the_voice_right(opened: Opener) -> None:
    dataset = opened("ikala", {"10161_chorus": ikala("10161_chorus")}, IKALA_SINGERS)
    [track] = dataset
    assert (dataset.name, track.dataset, track.name, track.artist) == ("ikala", "ikala", "10161_chorus", "1")
    assert track.tasks == {"separation", "f0", "lyrics"}  # its notes are pYIN's and no truth
    truth = track.load()
    np.testing.assert_allclose(truth.stems["accompaniment"], 0.25)
    np.testing.assert_allclose(truth.stems["vocals"], 0.5)
    np.testing.assert_allclose(truth.mixture, 0.75)  # the sum, not the mean
    assert mixture_residual_db(truth.mixture, truth.stems) == float("-inf")
    [f0] = truth.annotations.f0["vocals"]
    np.testing.assert_allclose(f0.times_s, [0.016, 0.048, 0.08])  # centres of 32 ms frames
    np.testing.assert_allclose(f0.f0_hz, [0, 440, 220])
    assert truth.annotations.lyrics.words == ((0.1, 0.4, "你"), (0.5, 0.9, "好"))


def test_ikala_is_split_by_singer(opened: Opener) -> None:
    names = ["10161_chorus", "10161_verse", "10164_verse", "10170_verse"]
    dataset = opened("ikala", {name: ikala(name) for name in names}, IKALA_SINGERS)
    parts = split_by_artist(dataset, fractions={"a": 0.5, "b": 0.5}, seed=1)
    assert sorted(map(len, parts.values())) == [1, 3]


def test_ikala_refuses_mono(opened: Opener) -> None:
    [track] = opened("ikala", {"10161_chorus": ikala("10161_chorus", (0.5,))}, IKALA_SINGERS)
    with pytest.raises(CatalogError, match=r"10161_chorus\.wav.*expected 2: accompaniment, vocals"):
        track.audio()


def test_vocadito_is_a_solo_voice(opened: Opener) -> None:
    files: Files = {
        "audio": ("Audio/vocadito_1.wav", samples(0.5)),
        "f0": ("Annotations/F0/vocadito_1_f0.csv", "0.10,220.0\n0.11,221.0\n0.12,0.0\n0.13,230.0\n0.14,230.0\n"),
        "notesA1": ("Annotations/Notes/vocadito_1_notesA1.csv", "0.1,220.0,0.4\n0.6,440.0,0.2\n"),
        "notesA2": ("Annotations/Notes/vocadito_1_notesA2.csv", "0.1,220.0,0.4\n0.7,440.0,0.2\n"),
        "lyrics": ("Annotations/Lyrics/vocadito_1_lyrics.txt", "Hello there\nyou\n"),
    }
    metadata = {"vocadito_metadata.csv": "track_id,singer_id,average_pitch,language\n1,S7,60,English\n"}
    [track] = opened("vocadito", {"1": files}, metadata)
    assert track.artist == "S7"
    assert track.stem_names == ("vocals",)
    # a solo recording is no mixture to be separated, and words without times are not to be aligned to
    assert track.tasks == {"f0", "notes"}
    truth = track.load()
    np.testing.assert_array_equal(truth.stems["vocals"], truth.mixture)
    np.testing.assert_allclose(truth.annotations.notes["vocals"].midi, [57, 69])
    np.testing.assert_allclose(truth.annotations.notes["vocals"].end_s, [0.5, 0.8])
    assert [line.label for line in truth.annotations.lyrics.lines] == ["Hello there", "you"]
    assert truth.annotations.lyrics.language == "English"
    times, f0 = truth.f0
    assert times[0] < 0.01  # what the list leaves out at both ends is unvoiced
    assert times[-1] > 0.98
    np.testing.assert_allclose(f0[f0 > 0], [220, 221, 230, 230])


BEATS = {
    "ballroom": ("B_1.0/audio/Waltz/Media-105901.wav", "B_1.0/annotations/beats/Media-105901.beats", "0.1 3\n0.5 1\n"),
    "hainsworth": ("hainsworth/wavs/001.wav", "annotations/beats/hains001.beats", "0.1\t3\n0.5\t1\n"),
    "gtzan_genre": (
        "gtzan_genre/genres/country/country.00000.wav",
        "gtzan_tempo_beat-main/beats/gtzan_country_00000.beats",
        "0.1\t3\n0.5\t1\n",
    ),
}


@pytest.mark.parametrize("name", BEATS)
def test_beat_sets(opened: Opener, name: str) -> None:
    audio, beats, text = BEATS[name]
    track_id = "country.00000" if name == "gtzan_genre" else "001"
    [track] = opened(name, {track_id: {"audio": (audio, samples(0.1)), "beats": (beats, text), "tempo": ("", "")}})
    assert track.tasks == {"beats"}
    assert track.artist is None
    np.testing.assert_array_equal(track.load().beats, [[0.1, 0.5], [3, 1]])
    assert len(find_tracks(f"mirdata:{name}:{track.track._data_home}")) == 1


def test_beats_without_positions_and_tracks_without_beats(opened: Opener) -> None:
    audio, beats, _ = BEATS["gtzan_genre"]
    files = {"audio": (audio, samples(0.1)), "beats": (beats, "0.1\n0.5\n"), "tempo": ("", "")}
    [track] = opened("gtzan_genre", {"country.00000": files})
    np.testing.assert_array_equal(track.annotations().beats, [[0.1, 0.5], [0, 0]])
    audio, beats, _ = BEATS["hainsworth"]
    files = {"audio": (audio, samples(0.1)), "beats": (beats, "-1.0\t-1\n"), "tempo": ("", "")}
    [track] = opened("hainsworth", {"001": files})
    assert track.annotations().beats is None
    assert track.tasks == frozenset()


def test_medleydb_melody_has_three_definitions(opened: Opener) -> None:
    name = "MusicDelta_Beethoven"
    files: Files = {
        "audio": (f"audio/{name}_MIX.wav", samples(0.1, 0.2)),
        "melody1": (f"melody1/{name}_MELODY1.csv", "0.0,0.0\n0.01,440.0\n0.02,441.0\n"),
        "melody2": (f"melody2/{name}_MELODY2.csv", "0.0,100.0\n0.01,440.0\n0.02,441.0\n"),
        "melody3": (f"melody3/{name}_MELODY3.csv", "0.0,100.0,0.0\n0.01,110.0,440.0\n0.02,441.0,0.0\n"),
    }
    metadata = {"medleydb_melody_metadata.json": json.dumps({name: {"artist": "Music Delta", "title": "Beethoven"}})}
    [track] = opened("medleydb_melody", {name: files}, metadata)
    assert track.artist == "Music Delta"
    assert track.tasks == frozenset()  # whether the melody is the voice, nobody says
    truth = track.load()
    assert truth.mixture.shape == (2, RATE)  # mirdata would average the channels
    np.testing.assert_allclose(truth.mixture[1], 0.2)
    known = truth.annotations.f0
    np.testing.assert_array_equal(known["melody1"][0].f0_hz, [0, 440, 441])
    np.testing.assert_array_equal(known["melody2"][0].f0_hz, [100, 440, 441])
    np.testing.assert_array_equal([voice.f0_hz for voice in known["melody3"]], [[100, 440, 441], [0, 110, 0]])


@pytest.mark.parametrize(
    ("instrument", "stem"), [("female singer", "vocals"), ("electric bass", "bass"), ("bassoon", "other")]
)
def test_medleydb_pitch_knows_its_instrument(opened: Opener, instrument: str, stem: str) -> None:
    name = "AClassicEducation_NightOwl_STEM_08"
    files: Files = {
        "audio": (f"audio/{name}.wav", samples(0.1)),
        "pitch": (f"pitch/{name}.csv", "0.0,0.0\n0.01,110.0\n"),
        "notes_pyin": (f"medleydb-pitch-pyin-notes/{name}_vamp_pyin_pyin_notes.csv", "0.1,0.2,220.0\n"),
    }
    metadata = {"artist": "A Classic Education", "instrument": instrument}
    [track] = opened("medleydb_pitch", {name: files}, {"medleydb_pitch_metadata.json": json.dumps({name: metadata})})
    assert track.stem_names == (stem,)
    assert track.tasks == ({"f0"} if stem == "vocals" else set())
    np.testing.assert_array_equal(track.annotations().f0[stem][0].f0_hz, [0, 110])
    assert track.annotations().notes == {}


def test_rwc_popular(opened: Opener) -> None:
    folder = "annotations/AIST.RWC-MDB-P-2001"
    files: Files = {
        "audio": ("audio/rwc-p-m01/1.wav", samples(0.1, 0.1)),
        "beats": (f"{folder}.BEAT/RM-P001.BEAT.TXT", "4\t44\t384\n44\t84\t48\n84\t124\t96\n124\t164\t384\n"),
        "sections": (f"{folder}.CHORUS/RM-P001.CHORUS.TXT", '4\t84\t"intro"\n'),
        "chords": (f"{folder}.CHORD/RWC_Pop_Chords/N001-M01-T01.lab", "0.0\t0.5\tN\n0.5\t1.0\tG#:min\n"),
        "voca_inst": ("", ""),
    }
    rows = "Piece No.,Cat. Suffix,Track No.,Title,Artist,Singer Information,Length,Tempo,Instruments,Drums\n" + "".join(
        f"No. {i},M01,Tr. 0{i},Title {i},Artist {i},Male,3:29,135,Guitar,Drum sequences\n" for i in (1, 2)
    )
    [track] = opened("rwc_popular", {"RM-P001": files}, {"metadata-master/rwc-p.csv": rows})
    assert track.artist == "Artist 1"
    known = track.annotations()
    np.testing.assert_allclose(known.beats.beats_s, [0.04, 0.44, 0.84, 1.24])
    np.testing.assert_array_equal(known.beats.beat_positions, [1, 2, 3, 1])
    assert known.chords == ((0.0, 0.5, "N"), (0.5, 1.0, "G#:min"))
    assert [(s.start_s, s.end_s) for s in known.sections] == [(0.04, 0.84)]


def test_tonas_takes_the_corrected_f0(opened: Opener) -> None:
    files: Files = {
        "audio": ("Deblas/01-D_AMairena.wav", samples(0.1)),
        "f0": ("Deblas/01-D_AMairena.f0.Corrected", "0.0 0.1 0.0 0.0\n0.01 0.1 440.0 220.0\n0.02 0.1 440.0 220.0\n"),
        "notes": ("Deblas/01-D_AMairena.notes.Corrected", "0.0\n0.1,0.2,57,0.5\n"),
    }
    [track] = opened("tonas", {"01-D_AMairena": files}, {"TONAS-Metadata.txt": "a\nb\n"})
    np.testing.assert_array_equal(track.annotations().f0["vocals"][0].f0_hz, [0, 220, 220])
    np.testing.assert_allclose(track.annotations().notes["vocals"].midi, [57])


# ------------------------------------------------------------------------------------------------------ in general


def test_tracks_without_audio_are_left_out_and_counted(
    opened: Opener, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    tracks = {name: ikala(name) for name in ("10161_chorus", "10161_verse")}
    opened("ikala", tracks, IKALA_SINGERS)
    (tmp_path / "ikala" / "Wavfile" / "10161_verse.wav").unlink()
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset("mirdata:ikala", tmp_path / "ikala")
    assert [track.name for track in dataset] == ["10161_chorus"]
    assert "1 of 2 tracks have no audio" in caplog.text
    (tmp_path / "ikala" / "Wavfile" / "10161_chorus.wav").unlink()
    with pytest.raises(CatalogError, match="none of the 2 tracks"):
        open_dataset("mirdata:ikala", tmp_path / "ikala")


@pytest.mark.parametrize(("broken", "what"), [("PitchLabel/{}.pv", "f0"), ("Lyrics/{}.lab", "lyrics")])
def test_malformed_labels_are_named(opened: Opener, tmp_path: Path, broken: str, what: str) -> None:
    opened("ikala", {"10161_chorus": ikala("10161_chorus")}, IKALA_SINGERS)
    path = tmp_path / "ikala" / broken.format("10161_chorus")
    path.write_text("nonsense here\n")
    [track] = open_dataset("mirdata:ikala", tmp_path / "ikala")
    with pytest.raises(CatalogError, match=rf"ikala/10161_chorus: mirdata cannot read {what}"):
        track.annotations()
    path.unlink()
    [track] = open_dataset("mirdata:ikala", tmp_path / "ikala")
    with pytest.raises(CatalogError, match=rf"ikala/10161_chorus: mirdata cannot read {what}"):
        track.annotations()


def test_missing_metadata_is_named_when_the_artist_is_asked_for(opened: Opener) -> None:
    [track] = opened("ikala", {"10161_chorus": ikala("10161_chorus")})
    assert track.tasks == {"separation", "f0", "lyrics"}
    with pytest.raises(CatalogError, match=r"cannot read singer_id.*Metadata not found"):
        split_by_artist([track], fractions={"a": 1.0})


def test_an_index_that_was_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.Index, "get_path", lambda self: str(tmp_path / "none.json"))
    with pytest.raises(CatalogError, match=r"mirdata\.initialize\(\"ikala\"\)\.download"):
        open_dataset("mirdata:ikala", tmp_path)


def test_unknown_sets_and_versions(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="mirdata:cante100: unknown, expected one of ballroom"):
        open_dataset("mirdata:cante100", tmp_path)  # annotated by algorithms alone
    with pytest.raises(CatalogError, match="no such version"):
        open_dataset("mirdata:ikala", tmp_path, version="0.0")


def test_tracks_travel_between_processes(opened: Opener) -> None:
    [track] = opened("ikala", {"10161_chorus": ikala("10161_chorus")}, IKALA_SINGERS)
    copy = pickle.loads(pickle.dumps(track))
    assert isinstance(copy, MirdataTrack)
    assert (copy.name, copy.artist, copy.tasks) == (track.name, track.artist, track.tasks)
    np.testing.assert_array_equal(copy.audio()[0], track.audio()[0])


@pytest.mark.parametrize("name", FACTS)
def test_mirdata_has_every_attribute_of_the_table(name: str) -> None:
    try:
        module = importlib.import_module(f"mirdata.datasets.{name}")
    except ImportError as error:
        pytest.skip(f"mirdata needs more for {name}: {error}")
    source = inspect.getsource(module.Track.__init__)
    facts = FACTS[name]
    accesses = [*facts.f0.values(), *facts.notes.values()]
    accesses += [facts.beats, facts.chords, facts.sections, facts.key, facts.words, facts.lines, facts.language]
    accesses += [facts.artist, facts.audio, facts.solo, facts.split]
    missing = [
        a for a in accesses if isinstance(a, str) and not hasattr(module.Track, a) and f"self.{a} =" not in source
    ]
    assert not missing


def test_annotation_types() -> None:
    times = np.array([0.0, 0.01, 0.02])
    f0 = annotations.F0Data(times, "s", np.array([0.0, 57.0, 69.0]), "midi", np.array([0.0, 1.0, 0.0]), "binary")
    [voice] = mirdata_sets._voices(f0)
    np.testing.assert_allclose(voice.f0_hz, [0, 220, 0])  # a frequency that is marked as unvoiced is none
    strings = mirdata_sets._voices({"E": f0, "A": None, "D": f0})
    assert len(strings) == 2
    beats = annotations.BeatData(times + 1, "s", np.array([1, 2, 3]), "global_index")
    np.testing.assert_array_equal(mirdata_sets._beats(beats).beat_positions, [0, 0, 0])
    intervals = np.array([[500.0, 1000.0], [0.0, 250.0]])
    notes = mirdata_sets._notes(annotations.NoteData(intervals, "ms", np.array([60.0, 62.0]), "midi"))
    np.testing.assert_array_equal(notes.start_s, [0, 0.5])
    np.testing.assert_array_equal(notes.midi, [62, 60])
    ticks = annotations.NoteData(intervals, "ticks", np.array([60.0, 62.0]), "midi")
    with pytest.raises(ValueError, match="times in ticks"):
        mirdata_sets._notes(ticks)
