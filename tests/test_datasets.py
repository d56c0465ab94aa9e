"""What all data sets share: truth.json, the sequence of tracks, splits by artist, and the rules of mixing."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stemfeatures import datasets
from stemfeatures.datasets import registry
from stemfeatures.datasets.annotations import Annotations, hz_to_midi, make_beats, make_f0, make_notes, midi_to_hz
from stemfeatures.datasets.mir1k import mir1k_tracks
from stemfeatures.datasets.mixing import clipped_fraction, is_silent, mix, mixture_residual_db, peak_gain
from stemfeatures.datasets.multitrack import MultiTrack, MultitrackDataset
from stemfeatures.datasets.opening import find_tracks, open_dataset
from stemfeatures.datasets.splits import artist_key, split_by_artist
from stemfeatures.errors import CatalogError

RATE = 16_000
RNG = np.random.default_rng(7)

TRUTH: dict[str, Any] = {
    "f0": {
        "vocals": [
            {"times_s": [0.0, 0.01, 0.02], "f0_hz": [0.0, 220.0, 221.5]},
            {"times_s": [0.0, 0.01, 0.02], "f0_hz": [None, None, 330.0]},
        ],
        "bass": {"times_s": [0.0, 0.01], "f0_hz": [55.0, 55.0]},
    },
    "notes": {
        "bass": [{"start_s": 0.5, "end_s": 0.75, "midi": 33}, {"start_s": 0.0, "end_s": 0.5, "midi": 34.5}],
        "drums": [{"start_s": 0.1, "end_s": 0.1}],
    },
    "onsets_s": {"drums": [0.1, 0.3]},
    "beats_s": [0.1, 0.6, 1.1],
    "beat_positions": [3, 1, 2],
    "downbeats_s": [0.6],
    "chords": [{"start_s": 0.0, "end_s": 1.0, "label": "A:min7"}],
    "key": "A:minor",
    "keys": [{"time_s": 0.0, "key": "A:minor"}, {"time_s": 0.6, "key": "Bb:minor"}],
    "tempo": [{"time_s": 0.0, "bpm": 120.0}],
    "sections": [{"start_s": 0.0, "end_s": 1.0, "label": "verse"}],
    "lyrics": {
        "words": [{"word": "la", "start_s": 0.1, "end_s": 0.2}, {"word": "lá", "start_s": 0.3, "end_s": 0.4}],
        "lines": [{"text": "la lá", "start_s": 0.1, "end_s": 0.4}],
    },
    "choices": {"style": "waltz", "vocals": {"voices": [{"singer": "af_bella"}, {"singer": "am_adam"}]}},
}


def noise(*shape: int, level: float = 0.1) -> np.ndarray:
    return (level * RNG.standard_normal(shape)).astype(np.float32)


def write_song(folder: Path, stems: dict[str, np.ndarray], truth: dict[str, Any] | None = None) -> None:
    folder.mkdir(parents=True)
    for name, signal in {"mixture": mix(stems), **stems}.items():
        soundfile.write(folder / f"{name}.flac", signal.T, RATE)
    if truth is not None:
        (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


# ------------------------------------------------------------------------------------------------ truth.json


def test_a_generated_song_gives_all_its_truth(tmp_path: Path) -> None:
    write_song(tmp_path / "song0", {stem: noise(2, RATE) for stem in ("vocals", "drums", "bass", "other")}, TRUTH)
    [track] = dataset = open_dataset("stems", tmp_path)
    assert (dataset.name, track.name, track.artist) == (tmp_path.name, "song0", "af_bella")
    assert track.tasks == {"separation", "f0", "beats", "notes", "lyrics"}
    known = track.annotations()
    lead, second = known.f0["vocals"]
    np.testing.assert_array_equal(lead.f0_hz, [0, 220, 221.5])
    np.testing.assert_array_equal(second.f0_hz, [0, 0, 330])
    np.testing.assert_array_equal(known.f0["bass"][0].f0_hz, [55, 55])
    np.testing.assert_array_equal(known.notes["bass"].start_s, [0.0, 0.5])
    np.testing.assert_array_equal(known.notes["bass"].midi, [34.5, 33])
    assert np.isnan(known.notes["drums"].midi).all()
    np.testing.assert_array_equal(known.onsets_s["drums"], [0.1, 0.3])
    np.testing.assert_array_equal(known.beats, [[0.1, 0.6, 1.1], [3, 1, 2]])
    assert known.chords == ((0.0, 1.0, "A:min7"),)
    assert known.sections == ((0.0, 1.0, "verse"),)
    assert (known.key, known.choices["style"]) == ("A:minor", "waltz")
    first, second_key = known.keys
    assert first == (0.0, 0.6, "A:minor")
    assert (second_key.start_s, second_key.label) == (0.6, "Bb:minor")
    np.testing.assert_array_equal(known.tempo, [[0.0], [120.0]])
    assert known.lyrics.words == ((0.1, 0.2, "la"), (0.3, 0.4, "lá"))
    assert known.lyrics.lines == ((0.1, 0.4, "la lá"),)
    truth = track.load()
    # exact truth is not filled up: it covers the track as it stands
    np.testing.assert_array_equal(truth.f0, lead)
    assert mixture_residual_db(truth.mixture, truth.stems) < -70
    assert pickle.loads(pickle.dumps(track)) == track


def test_what_the_generator_writes_is_what_is_read(tmp_path: Path) -> None:
    """Through its own writer, so that the two sides cannot drift apart."""
    from stemfeatures.generator.song import Song, Truth, write_song

    stems = {stem: noise(2, 44_100, level=0.05) for stem in ("vocals", "drums", "bass", "other")}
    write_song(Song(stems, Truth(**TRUTH, seed=1, version=1, sample_rate=44_100)), tmp_path / "00000001")
    [track] = open_dataset("stems", tmp_path)
    truth = track.load()
    assert track.tasks == {"separation", "f0", "beats", "notes", "lyrics"}
    assert mixture_residual_db(truth.mixture, truth.stems) == float("-inf")
    np.testing.assert_allclose(truth.stems["bass"], stems["bass"], atol=2.0**-15)
    assert truth.annotations.lyrics.lines == ((0.1, 0.4, "la lá"),)
    np.testing.assert_array_equal(truth.f0[1], [0, 220, 221.5])


def test_an_instrumental_is_an_artist_of_its_own(tmp_path: Path) -> None:
    write_song(
        tmp_path / "song1", {"drums": noise(1, 800)}, {"f0": {"vocals": []}, "choices": {"vocals": {"voices": []}}}
    )
    [track] = find_tracks(tmp_path)
    assert (track.artist, track.tasks) == ("song1", {"separation"})
    assert track.load().f0 is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("f0", {"vocals": [{"times_s": [0.0, 0.01], "f0_hz": [1.0]}]}),
        ("f0", {"vocals": [{"times_s": [0.01, 0.0], "f0_hz": [1.0, 1.0]}]}),
        ("f0", {"vocals": [{"f0_hz": [1.0]}]}),
        ("beats_s", [0.2, 0.1, 0.3]),
        ("beats_s", [0.2]),
        ("notes", {"bass": [{"start_s": 1.0, "end_s": 0.5, "midi": 30}]}),
        ("chords", [{"start_s": 0.0, "label": "N"}]),
        ("tempo", [{"bpm": 120}]),
        ("keys", [{"time_s": 1.0, "key": "C:major"}, {"time_s": 0.0, "key": "D:major"}]),
        ("lyrics", {"words": [{"start_s": 0, "end_s": 1}]}),
    ],
)
def test_malformed_truth_is_named_with_its_key(tmp_path: Path, key: str, value: object) -> None:
    write_song(tmp_path / "song", {"vocals": noise(1, 800)}, {**TRUTH, key: value})
    [track] = find_tracks(tmp_path)
    with pytest.raises(CatalogError, match=rf"truth\.json: {key}"):
        track.load()


def test_truth_that_is_no_json_is_named(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": noise(1, 800)}, TRUTH)
    (tmp_path / "song" / "truth.json").write_text('{"beats_s": [0.1, ')
    with pytest.raises(CatalogError, match=r"truth\.json: not readable"):
        find_tracks(tmp_path)[0].load()


def test_a_table_wins_over_truth_json_which_keeps_the_rest(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": noise(1, RATE)}, TRUTH)
    (tmp_path / "song" / "vocals_f0.csv").write_text("0.00,100\n0.01,100\n0.02,100\n")
    [track] = find_tracks(tmp_path)
    truth = track.load()
    assert [len(voices) for voices in truth.annotations.f0.values()] == [1, 1]
    times, f0 = truth.f0
    assert set(f0[:3]) == {100.0}
    assert times[-1] > 0.9  # a table may leave unvoiced frames out
    np.testing.assert_array_equal(truth.beats[0], TRUTH["beats_s"])


def test_truth_is_read_again_when_it_changes(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": noise(1, 800)}, TRUTH)
    [track] = find_tracks(tmp_path)
    assert track.annotations().key == "A:minor"
    path = tmp_path / "song" / "truth.json"
    path.write_text(json.dumps({**TRUTH, "key": "C:major"}))
    assert find_tracks(tmp_path)[0].annotations().key == "C:major"


def test_accompaniment_stands_for_the_rest_but_not_beside_its_parts(tmp_path: Path) -> None:
    write_song(tmp_path / "two", {"vocals": noise(1, 800), "accompaniment": noise(1, 800)})
    write_song(tmp_path / "three", {"vocals": noise(1, 800), "drums": noise(1, 800)})
    soundfile.write(tmp_path / "three" / "accompaniment.flac", noise(800), RATE)
    three, two = open_dataset("stems", tmp_path)
    assert two.stem_names == ("vocals", "accompaniment")
    assert three.stem_names == ("vocals", "drums")


# --------------------------------------------------------------------------------------------------- datasets


@dataclass(frozen=True)
class FakeTrack(MultiTrack):
    name: str
    artist: str | None
    dataset: str = "fake"
    split: str | None = None
    known: Annotations = field(default_factory=Annotations)

    @property
    def stem_names(self) -> tuple[str, ...]:
        return ()

    def audio(self, stem: str = "mixture") -> tuple[np.ndarray, int]:
        raise AssertionError("nothing may read audio here")

    def annotations(self) -> Annotations:
        return self.known


def test_a_dataset_is_a_sequence_that_reads_no_audio() -> None:
    beats = Annotations(beats=make_beats([0.5, 1.0]))
    tracks = [FakeTrack("a", "x", split="train"), FakeTrack("b", "y", split="test", known=beats)]
    dataset = MultitrackDataset("fake", tracks)
    assert len(dataset) == 2
    assert list(dataset) == tracks
    assert dataset[-1] is tracks[1]
    assert [track.name for track in dataset[:1]] == ["a"]
    assert [track.name for track in dataset.of_split("train")] == ["a"]
    assert [track.name for track in dataset.with_truth("beats")] == ["b"]
    with pytest.raises(CatalogError, match=r"fake.*'valid'.*test.*train"):
        dataset.of_split("valid")


def test_unknown_names_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="unknown data set 'musdb'"):
        open_dataset("musdb", tmp_path)
    with pytest.raises(CatalogError, match=r"unknown data set 'musdb', expected one of .*musdb18hq"):
        find_tracks(f"musdb:{tmp_path}")
    with pytest.raises(CatalogError, match=f"mirdata needs a name as well: mirdata:NAME:{tmp_path}"):
        find_tracks(f"mirdata:{tmp_path}")
    with pytest.raises(CatalogError, match="no such folder"):
        find_tracks(f"musdb:{tmp_path}/nowhere")
    with pytest.raises(CatalogError, match=r"nowhere.*no such folder"):
        open_dataset("stems", tmp_path / "nowhere")
    for name in ("stems", "mir1k"):
        with pytest.raises(CatalogError, match=r"no tracks of that layout"):
            open_dataset(name, tmp_path)


TOY = """
from stemfeatures.datasets.registry import register_dataset
from stemfeatures.datasets.stem_folders import StemFolderTrack

@register_dataset("toy", recognised=True)
def toy(root, *, suffix=".toy"):
    return [StemFolderTrack(path.stem, "toy", path) for path in sorted(root.glob(f"*{suffix}"))]

@register_dataset("toys", has_variants=True)
def toys(root, variant):
    return toy(root / variant)
"""


@pytest.mark.parametrize("where", ["file", "entry point"])
def test_a_data_set_registers_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """One file is all there is to add: among the loaders, or in a package of one's own."""
    code, name = tmp_path / "code", f"toy_set_{where.replace(' ', '_')}"
    code.mkdir()
    (code / f"{name}.py").write_text(TOY)
    if where == "file":
        monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(code)])
    else:
        info = code / "toy-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[stemfeatures.datasets]\ntoy = {name}:toy\n")
        monkeypatch.syspath_prepend(code)
    monkeypatch.setattr(registry, "_loaders", dict(registry._loaders))
    for song in ("b.toy", "a.toy", "c.other"):
        (tmp_path / "songs" / song).mkdir(parents=True)
        soundfile.write(tmp_path / "songs" / song / "mixture.wav", np.zeros((100, 2)), 8000)
    assert [track.name for track in open_dataset("toy", tmp_path / "songs")] == ["a", "b"]
    assert [track.name for track in open_dataset("toy", tmp_path / "songs", suffix=".other")] == ["c"]
    assert [track.name for track in open_dataset("toys:songs", tmp_path)] == ["a", "b"]
    assert [track.name for track in find_tracks(f"toys:songs:{tmp_path}")] == ["a", "b"]
    found = [(track.dataset, track.name) for track in find_tracks(tmp_path / "songs")]
    assert found == [("songs", "a.toy"), ("songs", "b.toy"), ("songs", "c.other"), ("toy", "a"), ("toy", "b")]
    assert find_tracks(tmp_path / "songs")[-1].load().mixture.shape == (2, 100)
    with pytest.raises(CatalogError, match=r"expected one of .*stems, toy, toys:<name>, ultrastar"):
        open_dataset("toys", tmp_path)
    with pytest.raises(ValueError, match="'toy' is registered already"):
        registry.register_dataset("toy")(list)


def test_a_data_set_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stemfeatures.datasets]\nbroken = no_such_module_of_mine:f\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CatalogError, match=r"cannot load the data set 'broken' \(no_such_module_of_mine:f\)"):
        open_dataset("stems", tmp_path)


def test_find_tracks_opens_named_layouts(tmp_path: Path) -> None:
    (tmp_path / "song.txt").write_text("#TITLE:a\n#BPM:100\n: 0 1 0 a\n")
    [track] = find_tracks(f"ultrastar:{tmp_path}")
    assert track.tasks == {"notes", "lyrics"}


def test_find_tracks_tries_layouts_that_no_single_folder_tells(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no tracks found: .*jamendolyrics:.*, ultrastar:") as caught:
        find_tracks(tmp_path, stage="evaluate")
    assert caught.value.stage == "evaluate"
    for song in "ab":
        (tmp_path / song).mkdir()
        (tmp_path / song / "song.txt").write_text("#TITLE:a\n#BPM:100\n: 0 1 0 a\n")
    assert [(track.dataset, track.name) for track in find_tracks(tmp_path)] == [
        (tmp_path.name, "a/song"), (tmp_path.name, "b/song")
    ]  # fmt: skip
    (tmp_path / "mp3").mkdir()
    (tmp_path / "mp3" / "c.mp3").touch()
    with pytest.raises(CatalogError, match=r"more than one layout .*: jamendolyrics:.*, ultrastar:"):
        find_tracks(tmp_path)
    soundfile.write(tmp_path / "b" / "mixture.wav", np.zeros((100, 2)), 8000)
    assert [track.name for track in find_tracks(tmp_path)] == ["b"]  # what is recognised comes first


def test_conversions() -> None:
    np.testing.assert_allclose(hz_to_midi([440, 0, 27.5]), [69, np.nan, 21])
    np.testing.assert_allclose(midi_to_hz([69, 0, 57]), [440, 0, 220])
    np.testing.assert_array_equal(make_f0([0, 1, 2, 3], [np.nan, -5, 0, 7]).f0_hz, [0, 0, 0, 7])
    np.testing.assert_array_equal(make_notes([1, 0], [2, 1], [60, 61], [1, 0]).voice, [0, 1])
    for beats in ([0.1, 0.1], [0.2, 0.1], [0.1, np.nan]):
        with pytest.raises(ValueError, match="increase"):
            make_beats(beats)
    with pytest.raises(ValueError, match="whole numbers"):
        make_beats([0.1, 0.2], [1.5, 2])


# ----------------------------------------------------------------------------------------------------- splits


def catalogue(n_artists: int = 200, songs: int = 3) -> list[FakeTrack]:
    return [FakeTrack(f"song {i}-{j}", f"Artist {i}") for i in range(n_artists) for j in range(songs)]


FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}


def test_no_artist_is_in_two_parts_and_no_track_is_lost() -> None:
    tracks = catalogue()
    parts = split_by_artist(tracks, fractions=FRACTIONS)
    assert sorted(track.name for part in parts.values() for track in part) == sorted(track.name for track in tracks)
    artists = {name: {track.artist for track in part} for name, part in parts.items()}
    for a in artists:
        for b in artists:
            assert a == b or not artists[a] & artists[b]
    for name, fraction in FRACTIONS.items():  # 200 artists: 0.07 is two standard deviations
        assert abs(len(artists[name]) / 200 - fraction) < 0.07


def test_splits_depend_on_nothing_but_name_and_seed() -> None:
    tracks = catalogue()
    place = {t.name: name for name, part in split_by_artist(tracks, fractions=FRACTIONS).items() for t in part}
    more = [FakeTrack(f"new {i}", f"Newcomer {i}") for i in range(100)] + tracks[::-1]
    again = {t.name: name for name, part in split_by_artist(more, fractions=FRACTIONS).items() for t in part}
    assert all(again[name] == where for name, where in place.items())
    other = {t.name: name for name, part in split_by_artist(tracks, fractions=FRACTIONS, seed=1).items() for t in part}
    assert other != place


def test_a_split_made_today_is_the_split_of_tomorrow() -> None:
    """Written down: a change of the hash would silently move artists from test to training."""
    names = ["Queen", "Björk", "abjones", "amy", "Clara Berry And Wooldog"]
    parts = split_by_artist([FakeTrack(n, n) for n in names], fractions={"a": 0.5, "b": 0.5}, seed=1)
    # printf '1\\0queen' | sha256sum begins with d, and so on
    assert [track.name for track in parts["a"]] == ["abjones", "Clara Berry And Wooldog"]
    assert [track.name for track in parts["b"]] == ["Queen", "Björk", "amy"]


@pytest.mark.parametrize("spelling", ["CAFÉ TACVBA", "Cafe Tacvba", "Café  Tacvba", "Café Tacvba feat. Somebody"])
def test_spellings_of_one_artist_stay_together(spelling: str) -> None:
    assert artist_key(spelling) == artist_key("Café Tacvba")
    assert artist_key("Taylor feather") != artist_key("Taylor")


def test_artists_are_one_over_data_sets() -> None:
    a = FakeTrack("x", "Music Delta", dataset="musdb18")
    b = FakeTrack("y", "music delta", dataset="medleydb_melody")
    for seed in range(10):
        parts = split_by_artist([a, b], fractions={"train": 0.5, "test": 0.5}, seed=seed)
        assert sorted(map(len, parts.values())) == [0, 2]


def test_tracks_without_an_artist() -> None:
    tracks = [FakeTrack(f"{i}", None, dataset="ballroom") for i in range(50)]
    with pytest.raises(CatalogError, match=r"ballroom/0.*names no artist"):
        split_by_artist(tracks, fractions={"train": 0.5, "test": 0.5})
    parts = split_by_artist(tracks, fractions={"train": 0.5, "test": 0.5}, unknown="track")
    assert min(map(len, parts.values())) > 10


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}])
def test_fractions_must_make_a_whole(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_by_artist([], fractions=fractions)


def test_mir1k_is_split_by_singer(tmp_path: Path) -> None:
    """papers: a split by clip leaks every singer and every song."""
    for singer in ("abjones", "amy", "Ani", "bobon", "bug", "davidson", "fdps", "geniusturtle"):
        for clip in ("1_01", "1_02", "2_01"):
            soundfile.write(tmp_path / f"{singer}_{clip}.wav", np.zeros((160, 2)), RATE)
            (tmp_path / f"{singer}_{clip}.pv").write_text("0\n")
    tracks = mir1k_tracks(tmp_path)
    assert {track.artist for track in tracks if track.name.startswith("amy")} == {"amy"}
    parts = split_by_artist(tracks, fractions={"train": 0.5, "test": 0.5})
    train, test = ({track.name.split("_")[0] for track in parts[name]} for name in ("train", "test"))
    assert train
    assert test
    assert not train & test
    assert len(parts["train"]) == 3 * len(train)


# ----------------------------------------------------------------------------------------------------- mixing


def test_a_mix_is_the_sum_and_is_not_clipped() -> None:
    stems = {"vocals": np.full((2, 4), 0.75, np.float32), "other": np.full((2, 4), 0.75, np.float32)}
    np.testing.assert_array_equal(mix(stems), np.full((2, 4), 1.5, np.float32))
    gain = peak_gain(mix(stems), *stems.values())
    np.testing.assert_allclose(gain, 2 / 3)
    assert peak_gain(stems["vocals"]) == 1.0  # never up
    assert peak_gain(np.zeros((1, 4))) == 1.0
    with pytest.raises(ValueError, match="one shape"):
        mix({"a": np.zeros((1, 4)), "b": np.zeros((1, 5))})
    with pytest.raises(ValueError, match="one shape"):
        mix({})


def test_averaged_channels_still_sum_and_summed_sources_are_twice_their_mean() -> None:
    """The two ways to mono: recordings are averaged, sources on channels are added."""
    from stemfeatures.audio import to_mono

    stems = {"vocals": noise(2, 1000), "other": noise(2, 1000)}
    np.testing.assert_allclose(to_mono(mix(stems)), sum(to_mono(stem) for stem in stems.values()), atol=1e-6)
    left, right = noise(1, 1000), noise(1, 1000)
    added = mix({"accompaniment": left, "vocals": right})
    averaged = to_mono(np.concatenate([left, right]))
    np.testing.assert_allclose(20 * np.log10(np.linalg.norm(added) / np.linalg.norm(averaged)), 6.02, atol=0.01)


def test_residual_of_a_mixture() -> None:
    stems = {"vocals": noise(2, 5000), "drums": noise(2, 5000)}
    mixture = mix(stems)
    assert mixture_residual_db(mixture, stems) == float("-inf")
    mastered = mixture * 0.9
    np.testing.assert_allclose(mixture_residual_db(mastered, stems), 20 * np.log10(0.1 / 0.9), atol=1e-3)
    # one stem is missing: half of the energy
    np.testing.assert_allclose(mixture_residual_db(mixture, {"vocals": stems["vocals"]}), -3, atol=0.3)
    assert mixture_residual_db(mixture, {"vocals": np.zeros_like(mixture)}) == 0
    # the accompaniment is not counted beside its parts, and is counted without them
    assert mixture_residual_db(mixture, {**stems, "accompaniment": stems["drums"]}) == float("-inf")
    two = {"vocals": stems["vocals"], "accompaniment": stems["drums"]}
    assert mixture_residual_db(mixture, two) == float("-inf")
    assert np.isnan(mixture_residual_db(np.zeros((1, 10)), {"vocals": np.zeros((1, 10))}))
    with pytest.raises(ValueError, match="shape"):
        mixture_residual_db(mixture[:, 1:], stems)


def test_sixteen_bits_count_as_an_exact_sum(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {stem: noise(1, RATE, level=0.02) for stem in ("vocals", "drums", "bass", "other")})
    truth = find_tracks(tmp_path)[0].load()
    assert -80 < mixture_residual_db(truth.mixture, truth.stems) < -40


def test_clipping_is_found_at_any_level() -> None:
    sine = np.sin(2 * np.pi * 110 * np.arange(RATE) / RATE)
    assert clipped_fraction(0.9 * sine) == 0.0
    assert clipped_fraction(noise(2, RATE)) == 0.0
    clipped = np.clip(2 * sine, -1, 1)  # beyond 1/2, that is for two thirds of the time
    np.testing.assert_allclose(clipped_fraction(clipped), 2 / 3, atol=0.02)
    np.testing.assert_allclose(clipped_fraction(0.3 * clipped), 2 / 3, atol=0.02)
    assert clipped_fraction(np.zeros((2, 100))) == 0.0
    assert clipped_fraction(np.zeros((2, 0))) == 0.0


def test_silence_is_truth_and_absence_is_not_silence(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": np.zeros((1, RATE), np.float32), "drums": noise(1, RATE)})
    truth = find_tracks(tmp_path)[0].load()
    assert set(truth.stems) == {"vocals", "drums"}
    assert is_silent(truth.stems["vocals"])
    assert truth.stems["vocals"].shape == truth.mixture.shape
    assert not is_silent(truth.stems["drums"])
    assert is_silent(np.full((1, 10), 10**-4.1))
    assert not is_silent(np.full((1, 10), 10**-3.9))
