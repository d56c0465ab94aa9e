"""What a user gives to learn a target from: songs, files, stores, patterns; what of it is taken, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_multitrack import RATE, tone, write_clip, write_song

from pipelines import cli
from stemfeatures.audio import write
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.errors import CatalogError, DatasetError, TrainingError
from stemfeatures.models import checkpoints
from stemfeatures.training.data.held_out import HeldOut
from stemfeatures.training.data.recording_sources import find_pairs, find_recordings
from stemfeatures.training.data.recording_store import RecordingStore, build_recording_store
from stemfeatures.training.data.song_store import SongStore, StoredTrack, build_song_store, stored_tracks
from stemfeatures.training.data.stem_sum import StemSum
from stemfeatures.training.preparation import TrainingSources, prepare_run, read_recipe

HERTZ = {"vocals": 880.0, "drums": 330.0, "bass": 110.0, "other": 550.0}
KINDS = ("mixtures", "solos", "accompaniments")
LOW = 8_000


def song(folder: Path, *, stems: tuple[str, ...] = tuple(HERTZ), mixture: bool = True) -> Path:
    """A tone a stem, each a tenth of a second from the last; other stems than the four at 700 Hz."""
    write_song(folder, {stem: tone(HERTZ.get(stem, 700.0), 2.0) for stem in stems})
    if not mixture:
        (folder / "mixture.flac").unlink()
    return folder


def names(found: list) -> list[str]:
    return [f"{f.track.name}:{'+'.join(f.stems)}" if isinstance(f, StemSum) else f.name for f in found]


def heard(store: RecordingStore, kind: str, place: int = 0) -> set[float]:
    """Frequencies of a recording of a store."""
    recording = store.recordings[kind][place]
    y = store.samples(recording, 0, 2 * store.sample_rate).sum(axis=0)
    spectrum = np.abs(np.fft.rfft(y))
    return {k / 2 for k in np.flatnonzero(spectrum > 0.3 * spectrum.max())}


# ------------------------------------------------------------------------------------------------ songs and files


def test_of_songs_the_stems_are_taken_that_the_kind_is_about(tmp_path):
    song(tmp_path / "songs" / "a")
    song(tmp_path / "songs" / "b", mixture=False)
    unpaired = {kind: find_recordings([tmp_path / "songs"], kind, "vocals") for kind in KINDS}
    assert names(unpaired["mixtures"]) == ["a:mixture", "b:bass+drums+other+vocals"]
    assert names(unpaired["solos"]) == ["a:vocals", "b:vocals"]
    assert names(unpaired["accompaniments"]) == ["a:bass+drums+other", "b:bass+drums+other"]
    store = build_recording_store(tmp_path / "store", target="vocals", sample_rate=LOW, unpaired=unpaired)
    for place in range(2):
        assert heard(store, "mixtures", place) == {*HERTZ.values()}
        assert heard(store, "solos", place) == {880.0}
        assert heard(store, "accompaniments", place) == {110.0, 330.0, 550.0}
    assert store.recordings["solos"][0].dataset == "songs"
    assert store.recordings["solos"][0].sha256
    # a stem that changes is decoded anew, though it is not the first
    write(tmp_path / "songs" / "a" / "other.flac", tone(1500.0, 2.0)[None], RATE)
    store = build_recording_store(tmp_path / "store", target="vocals", sample_rate=LOW, unpaired=unpaired)
    assert heard(store, "accompaniments") == {110.0, 330.0, 1500.0}


def test_files_that_are_no_stems_are_named_but_not_all_of_them(tmp_path):
    for number in range(14):
        write((tmp_path / f"{number:02d}.wav"), tone(400.0)[None], RATE)
    with pytest.raises(DatasetError, match=r"none of 1 songs .*stems here: 00, 01.* and 2 more \[train\]"):
        find_pairs(tmp_path, "vocals")


def test_files_stay_as_they_are_beside_songs_and_alone(tmp_path, caplog):
    song(tmp_path / "all" / "deep" / "a")
    for name in ("all/take.wav", "all/loose/drums take.wav", "all/deep/a/raw/noise.wav", "all/.hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, tone(400.0)[None], RATE)
    found = find_recordings([tmp_path / "all", tmp_path / "all" / "take.wav"], "solos", "vocals")
    assert sorted(names(found)) == ["a:vocals", "drums take.wav", "take.wav"]
    assert "passed over 1 audio files in folders inside song folders" in caplog.text
    stem = tmp_path / "all" / "deep" / "a" / "drums.flac"
    assert find_recordings([stem], "solos", "vocals") == [stem.resolve()]  # who names a file means it


@pytest.mark.parametrize(
    ("stems", "target", "kind", "expected"),
    [
        (("drums", "bass", "other"), "vocals", "accompaniments", "drums+bass+other"),
        (("drums", "bass", "other"), "vocals", "solos", None),
        (("vocals", "accompaniment"), "vocals", "accompaniments", "accompaniment"),
        (("vocals", "accompaniment"), "drums", "accompaniments", None),  # it may hold the drums
        (("vocals", "drums", "bass", "other"), "guitar", "accompaniments", None),  # other may hold the guitar
        (("vocals", "drums", "bass"), "guitar", "accompaniments", "vocals+drums+bass"),
        (("guitar", "keys", "drums"), "guitar", "accompaniments", "keys+drums"),
        (("guitar", "keys"), "guitar", "solos", "guitar"),
        (("vocals", "accompaniment"), "drums", "mixtures", "vocals+accompaniment"),
        (("drums",), "vocals", "mixtures", None),
    ],
)
def test_songs_that_lack_those_stems_are_left_out(tmp_path, caplog, stems, target, kind, expected):
    song(tmp_path / "songs" / "it", stems=stems, mixture=False)
    write(tmp_path / "songs" / "take.wav", tone(400.0)[None], RATE)
    sums = [f for f in find_recordings([tmp_path / "songs"], kind, target) if isinstance(f, StemSum)]
    if expected:
        [found] = sums
        assert set(found.stems) == set(expected.split("+"))
        return
    assert not sums
    assert f"left out of the {kind}: 1 of 1 songs with n" in caplog.text
    (tmp_path / "songs" / "take.wav").unlink()
    with pytest.raises(DatasetError, match=r"none of 1 songs can be used.*stems here: .*\[train\]"):
        find_recordings([tmp_path / "songs"], kind, target)


def test_other_layouts_have_parts_too(tmp_path):
    write_clip(tmp_path / "mir1k", "singer_1_1", tone(220.0, 2.0), tone(660.0, 2.0), [60] * 98)
    found = {kind: find_recordings([tmp_path / "mir1k"], kind, "vocals") for kind in KINDS}
    assert {kind: names(some) for kind, some in found.items()} == {
        "mixtures": ["singer_1_1:mixture"],
        "solos": ["singer_1_1:vocals"],
        "accompaniments": ["singer_1_1:accompaniment"],
    }
    song(tmp_path / "songs" / "a")
    assert names(find_recordings([f"stems:{tmp_path / 'songs'}"], "solos", "vocals")) == ["a:vocals"]


def test_links_that_lead_back_end(tmp_path):
    song(tmp_path / "elsewhere" / "a")
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "linked").symlink_to(tmp_path / "elsewhere" / "a")
    (tmp_path / "songs" / "back").symlink_to(tmp_path / "songs")
    assert names(find_recordings([tmp_path / "songs"], "solos", "vocals")) == ["linked:vocals"]


# ------------------------------------------------------------------------------------------------ stores of songs


def test_a_store_of_songs_gives_pairs_and_recordings(tmp_path):
    for name in ("a", "b"):
        song(tmp_path / "songs" / name)
    folder = build_song_store(find_tracks(tmp_path / "songs"), tmp_path / "store")
    pairs = find_pairs(folder, "bass")
    unpaired = {kind: find_recordings([folder], kind, "bass") for kind in KINDS}
    store = build_recording_store(
        tmp_path / "store", target="bass", sample_rate=LOW, pairs=pairs, unpaired=unpaired, jobs=2
    )
    assert [(r.dataset, r.name) for r in store.recordings["pairs"]] == [("songs", "a"), ("songs", "b")]
    assert heard(store, "pairs") == heard(store, "mixtures") == {*HERTZ.values()}
    assert heard(store, "solos", 1) == {110.0}
    assert heard(store, "accompaniments") == {330.0, 550.0, 880.0}
    with pytest.raises(DatasetError, match="none of 2 songs has the stem 'guitar'"):
        find_pairs(folder, "guitar")


def test_a_stored_track_is_what_was_stored(tmp_path):
    song(tmp_path / "songs" / "a")
    folder = build_song_store(find_tracks(tmp_path / "songs"), tmp_path / "store")
    [track] = stored_tracks(folder)
    truth = track.load()
    assert (track.dataset, track.name, truth.sample_rate) == ("songs", "a", 22_050)
    assert np.allclose(truth.mixture, sum(truth.stems.values()), atol=1e-6)
    with pytest.raises(KeyError):
        track.audio("guitar")
    moved = StoredTrack(SongStore(folder), 0, dataset="held_out")
    assert (moved.dataset, moved.name) == ("held_out", "songs/a")
    Path(track.source()).write_bytes(b"")
    with pytest.raises(CatalogError, match=r"00000\.npy: cannot be read"):
        track.audio()


# ------------------------------------------------------------------------------------------------ held out


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("b", {"b"}),
        ("songs/b", {"b"}),
        ("deep/songs/*", {"a [live]", "b"}),
        ("a [live]", {"a [live]"}),
        ("take 1", {"take 1.wav"}),
        ("take*.wav", {"take 1.wav", "take 2.wav"}),
        ("root/loose/*", {"take 1.wav", "take 2.wav"}),
        ("*", {"a [live]", "b", "take 1.wav", "take 2.wav"}),
        ("tmp*", set()),  # what is above the folder that was given does not count
        ("vocals*", set()),
    ],
)
def test_patterns_name_songs_and_files(tmp_path, pattern, expected):
    root = tmp_path / "tmp" / "root"
    for name in ("a [live]", "b"):
        song(root / "deep" / "songs" / name)
    for name in ("take 1.wav", "take 2.wav"):
        (root / "loose").mkdir(exist_ok=True)
        write(root / "loose" / name, tone(400.0)[None], RATE)
    held_out = HeldOut([pattern])
    found = [f for f in find_recordings([root], "solos", "vocals") if held_out(f, [root])]
    assert {f.track.name if isinstance(f, StemSum) else f.name for f in found} == expected
    assert held_out.matched == ({pattern} if expected else set())


@pytest.fixture
def data(tmp_path) -> Path:
    for name in ("a", "b", "c"):
        song(tmp_path / "songs" / name)
    song(tmp_path / "development" / "d")
    recipe = {"name": "tiny", "objective": "adversarial", "network": "unet2018", "steps": 1, "batch_size": 1,
              "n_frames": 16, "warmup": 1, "log_every": 1, "save_every": 1}  # fmt: skip
    lines = [f"{name} = {json.dumps(value)}" for name, value in recipe.items()]
    lines += ["[model]", "width = 2", "depth = 1", "[settings]", "critic_updates = 1", "critic_width = 2"]
    (tmp_path / "tiny.toml").write_text("\n".join(lines) + "\n")
    return tmp_path


def train(data: Path, *more: str, **kinds: str) -> int:
    argv = ["train", "--recipe", str(data / "tiny.toml"), "--run-dir", str(data / "run"), "--target", "vocals"]
    argv += [word for kind, folder in kinds.items() for word in (f"--{kind}", str(data / folder))]
    return cli.main([*argv, "--workers", "0", "--device", "cpu", *more])


def test_the_command_holds_out_and_says_so(data, capsys):
    """Of all four kinds; in the card what was held out; a run keeps to it."""
    every = dict.fromkeys(("pairs", *KINDS), "songs")
    patterns = data / "held_out.txt"
    patterns.write_text("b  # a comment\nnobody*\n")
    held = ["--held-out", str(patterns)]
    assert train(data, *held, **every) == 0
    said = capsys.readouterr().err
    for line in (
        "pairs: 2 songs, 1 held out",
        "mixtures: mixtures of 2 songs, 1 held out",
        "solos: vocals of 2 songs, 1 held out",
        "accompaniments: all but vocals of 2 songs, 1 held out",
        "no recording matches 'nobody*'",
    ):
        assert line in said
    store = RecordingStore(data / "run" / "recordings")
    assert {kind: [r.name for r in some] for kind, some in store.recordings.items()} == {
        kind: ["a", "c"] for kind in every
    }
    card = data / "run" / "tiny-vocals.safetensors"
    assert checkpoints.resolve(card).card["held_out"] == ["b"]

    assert train(data, "--steps", "2") == 0  # goes on, and has not forgotten
    assert checkpoints.resolve(card).card["held_out"] == ["b"]
    capsys.readouterr()
    patterns.write_text("b\nc\n")
    assert train(data, "--steps", "3", *held) == 2
    assert "were chosen without the held-out pattern c" in capsys.readouterr().err
    assert train(data, "--steps", "3", *held, **every) == 2
    assert "has learned from what the held-out pattern c names" in capsys.readouterr().err


def as_earlier_versions_wrote(run_dir: Path) -> None:
    (run_dir / "recordings").rename(run_dir / "parts")
    (run_dir / "parts" / "recordings.json").rename(run_dir / "parts" / "parts.json")
    recipe = json.loads((run_dir / "recipe.json").read_text())
    recipe["parts"] = recipe.pop("excerpts")
    (run_dir / "recipe.json").write_text(json.dumps(recipe))


def test_python_users_prepare_a_run_alike(data):
    config = read_recipe(str(data / "tiny.toml"), steps=3, target="vocals")
    assert (config.objective, config.steps, config.target) == ("adversarial", 3, "vocals")
    (data / "held_out.txt").write_text("b\n")
    write_song(data / "validation" / "e", {stem: tone(hertz + 35.0, 2.0) for stem, hertz in HERTZ.items()})
    songs = [str(data / "songs")]
    sources = TrainingSources(
        pairs=songs, mixtures=songs, solos=songs, accompaniments=songs,
        held_out=data / "held_out.txt", development=data / "validation",
    )  # fmt: skip
    found, decoded = [], []

    def watch(what, items, total):
        decoded.append(what)
        return items

    run = prepare_run(config, data / "run", sources, watch=watch, on_found=found.append)
    assert [(f.kind, f.n_songs, f.n_files, f.n_held_out) for f in found] == [
        (kind, 2, 0, 1) for kind in ("pairs", *KINDS)
    ]
    assert set(decoded) == {"recordings"}
    assert run.held_out == ["b"]
    assert [track.name for track in run.development] == ["e"]
    assert heard(run.data.recordings, "solos") == {880.0}
    again = prepare_run(config, data / "run", TrainingSources())  # decoded before
    assert [r.name for r in again.data.recordings.recordings["pairs"]] == ["a", "c"]
    (data / "run" / "last.pt").write_bytes(b"")  # it has learned something
    as_earlier_versions_wrote(data / "run")
    earlier = prepare_run(config, data / "run", TrainingSources())
    assert earlier.data.recordings.path == data / "run" / "parts"
    assert heard(earlier.data.recordings, "solos") == {880.0}
    with pytest.raises(TrainingError, match=r"another recipe \(target changed\)"):
        prepare_run(read_recipe(str(data / "tiny.toml"), target="bass"), data / "run", TrainingSources())
    with pytest.raises(TrainingError, match=r"development songs .* would also be trained on, such as songs/a"):
        prepare_run(config, data / "other", replace(sources, held_out=None, development=data / "songs"))
    with pytest.raises(TrainingError, match="recipe 'tiny' is for the objective adversarial, not gan"):
        read_recipe(str(data / "tiny.toml"), objective="gan")
    with pytest.raises(TrainingError, match=r"unknown recipe 'none'; known: .*joint-v0"):
        read_recipe("none")


@pytest.mark.parametrize(
    ("kinds", "more", "messages"),
    [
        ({"solos": "empty"}, [], ["empty: no audio files", "[train]"]),
        ({"solos": "drums"}, [], ["none of 1 songs can be used for the solos: no stem 'vocals'; stems here: drums"]),
        ({"solos": "text.wav"}, [], ["left out of the solos", "none of the solos can be used; the first", "text.wav"]),
        ({"pairs": "empty"}, [], ["empty: no song folders with stems (vocals.wav and others)", "[train]"]),
        ({"pairs": "drums"}, [], ["none of 1 songs has the stem 'vocals' and another; stems here: drums [train]"]),
        ({"pairs": "text.wav"}, [], ["text.wav: a file; expected a song folder"]),
        ({"mixtures": "stems:songs"}, [], ["stems:songs: no such folder [train]"]),
        ({"mixtures": "nowhere"}, [], ["nowhere: no such file or folder [train]"]),
        ({}, ["--target", "banjo"], ["none of 3 songs has the stem 'banjo'", "[train]"]),
        ({}, ["--held-out", "nowhere.txt"], ["nowhere.txt: no such file"]),
        ({}, ["--held-out", "ALL"], ["leave none of the 3 pairs"]),
        (
            {"solos": "development"},
            ["--validate", "DEVELOPMENT"],
            ["1 track of the development", "development/d"],
        ),
    ],
)
def test_what_cannot_be_used_is_told(data, capsys, kinds, more, messages):
    (data / "empty").mkdir()
    song(data / "drums" / "x", stems=("drums",))
    (data / "text.wav").write_text("no audio\n")
    (data / "all.txt").write_text("*\n")
    paths = {"ALL": str(data / "all.txt"), "DEVELOPMENT": str(data / "development")}
    given = dict.fromkeys(("pairs", *KINDS), "songs") | kinds
    assert train(data, *[paths.get(word, word) for word in more], **given) == 2
    said = capsys.readouterr().err
    assert all(message in said for message in messages), said
    assert not (data / "run" / "recordings" / "recordings.json").exists()


def test_the_joint_objective_names_its_stage(tmp_path, capsys):
    for option in ("--songs", "--validate"):
        argv = ["train", "--recipe", "generated-v0", option, str(tmp_path / "nowhere"), "--run-dir", str(tmp_path)]
        assert cli.main([*argv, "--device", "cpu"]) == 2
        assert "nowhere: no such folder [train]" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [SongStore, RecordingStore])
@pytest.mark.parametrize(
    ("index", "message"),
    [('{"version": 0}', "of version 0, expected"), ("{", "not a store"), ('{"version": 1}', "not a store")],
)
def test_stores_that_cannot_be_read_name_their_folder(tmp_path, kind, index, message):
    for name in ("store.json", "recordings.json"):
        (tmp_path / name).write_text(index)
    with pytest.raises(DatasetError, match=rf"{tmp_path.name}: .*{message}"):
        kind(tmp_path)
