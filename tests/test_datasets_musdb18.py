"""MUSDB18 and MUSDB18-HQ in their layouts on disk."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.audio import load
from stemfeatures.audio.ffmpeg_decoder import ffmpeg_path
from stemfeatures.datasets.mixing import mixture_residual_db
from stemfeatures.datasets.musdb18 import musdb18, setup
from stemfeatures.datasets.opening import find_tracks, open_dataset
from stemfeatures.datasets.splits import split_by_artist
from stemfeatures.errors import CatalogError, DecodeError

pytest.importorskip("yaml")
try:
    setup()
except ImportError as reason:
    pytest.skip(str(reason), allow_module_level=True)

RATE = 44_100
STEMS = ("vocals", "drums", "bass", "other")
SONGS = (("train", "Actions - One Minute Smile"), ("train", "A Band - A Song"), ("test", "Else - Feat"))
#: Another tone for each stem, so that a wrong one is noticed.
TONES = {"drums": 100.0, "bass": 200.0, "other": 400.0, "vocals": 800.0}


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    y = 0.1 * np.sin(2 * np.pi * hz * np.arange(round(RATE * seconds)) / RATE)
    return np.stack([y, 0.5 * y])


def write_wavs(folder: Path) -> None:
    folder.mkdir(parents=True)
    stems = {stem: tone(hz) for stem, hz in TONES.items()}
    for name, y in {"mixture": sum(stems.values()), **stems}.items():
        soundfile.write(folder / f"{name}.wav", y.T, RATE, subtype="PCM_16")


@pytest.fixture
def hq(tmp_path: Path) -> Path:
    for subset, song in SONGS:
        write_wavs(tmp_path / "hq" / subset / song)
    return tmp_path / "hq"


@pytest.fixture(scope="module")
def stem_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The order of the streams is that of the set: mixture, drums, bass, other, vocals."""
    executable = ffmpeg_path()
    if executable is None:
        pytest.skip("no ffmpeg to write stem files with")
    root = tmp_path_factory.mktemp("musdb18")
    write_wavs(root / "wav")
    inputs = [
        a for s in ("mixture", "drums", "bass", "other", "vocals") for a in ("-i", str(root / "wav" / f"{s}.wav"))
    ]
    maps = [a for i in range(5) for a in ("-map", f"{i}:a")]
    for subset, song in SONGS:
        (root / subset).mkdir(exist_ok=True)
        target = str(root / subset / f"{song}.stem.mp4")
        if song == SONGS[0][1]:
            command = [
                executable,
                "-nostdin",
                "-loglevel",
                "error",
                *inputs,
                *maps,
                "-c:a",
                "aac",
                "-b:a",
                "256k",
                target,
            ]
            subprocess.run(command, check=True)
            first = target
        else:
            shutil.copy(first, target)
    shutil.rmtree(root / "wav")
    return root


def test_the_split_is_that_of_musdb(hq: Path) -> None:
    dataset = open_dataset("musdb18hq", hq)
    assert [(t.name, t.artist, t.split) for t in dataset] == [
        ("A Band - A Song", "A Band", "train"),
        ("Actions - One Minute Smile", "Actions", "valid"),
        ("Else - Feat", "Else", "test"),
    ]
    assert {track.dataset for track in dataset} == {dataset.name} == {"musdb18hq"}
    assert [track.name for track in dataset.of_split("valid")] == ["Actions - One Minute Smile"]
    assert len(setup()["validation_tracks"]) == 14
    assert sum(map(len, split_by_artist(dataset, fractions={"a": 0.5, "b": 0.5}).values())) == 3


def test_hq_reads_the_wav_files(hq: Path) -> None:
    track = musdb18(hq)[0]
    assert track.stem_names == STEMS
    assert track.tasks == {"separation"}
    truth = track.load()
    assert truth.sample_rate == RATE
    for stem, hz in TONES.items():
        np.testing.assert_allclose(truth.stems[stem], tone(hz), atol=1e-4)
    assert mixture_residual_db(truth.mixture, truth.stems) < -60
    assert truth.annotations.beats is None
    with pytest.raises(KeyError):
        track.audio("accompaniment")
    assert len(find_tracks(f"musdb18hq:{hq}")) == 3


def test_hq_is_lazy(hq: Path) -> None:
    (hq / "train" / "A Band - A Song" / "bass.wav").write_bytes(b"not audio")
    track = musdb18(hq)[0]
    np.testing.assert_allclose(track.audio("vocals")[0], tone(TONES["vocals"]), atol=1e-4)
    with pytest.raises(DecodeError, match=r"bass\.wav"):
        track.audio("bass")
    (hq / "train" / "A Band - A Song" / "bass.wav").unlink()
    assert musdb18(hq)[0].stem_names == ("vocals", "drums", "other")


def test_stem_files_give_each_stem_its_stream(stem_files: Path) -> None:
    dataset = open_dataset("musdb18", stem_files)
    assert [(t.name, t.split) for t in dataset] == [
        ("A Band - A Song", "train"),
        ("Actions - One Minute Smile", "valid"),
        ("Else - Feat", "test"),
    ]
    truth = dataset[0].load()
    assert truth.sample_rate == RATE
    for stem, hz in TONES.items():
        y = truth.stems[stem]
        assert y.shape[0] == 2
        spectrum = np.abs(np.fft.rfft(y[0, : RATE // 2]))
        assert abs(np.argmax(spectrum) * 2 - hz) <= 2
        # AAC keeps the level and the time: the tone is where it was
        np.testing.assert_allclose(y[:, 5000:20000], tone(hz)[:, 5000:20000], atol=0.01)
    # the codec is why these stems sum to their mixture only roughly
    assert -60 < mixture_residual_db(truth.mixture, truth.stems) < -15


def test_the_mixture_of_a_stem_file_is_its_first_stream(stem_files: Path) -> None:
    track = musdb18(stem_files)[1]
    direct, _ = load(stem_files / "train" / "Actions - One Minute Smile.stem.mp4")
    np.testing.assert_array_equal(track.audio()[0], direct)


def test_a_stem_file_without_its_streams_is_named(stem_files: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    broken = tmp_path / "test" / "A - B.stem.mp4"
    soundfile.write(broken.with_suffix(".wav"), tone(100).T, RATE)
    broken.with_suffix(".wav").rename(broken)
    [track] = musdb18(tmp_path)
    with pytest.raises(DecodeError, match=r"A - B\.stem\.mp4.*stream 4"):
        track.audio("vocals")


def test_the_wrong_layout_is_named(hq: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"expected files \*\.stem\.mp4"):
        open_dataset("musdb18", hq)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="expected one of the two layouts"):
        musdb18(tmp_path / "empty")


@pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="musdb cannot be imported without ffprobe"
)
@pytest.mark.parametrize("is_wav", [True, False])
def test_the_package_musdb_reads_the_same(hq: Path, stem_files: Path, is_wav: bool) -> None:
    musdb = pytest.importorskip("musdb")
    root = hq if is_wav else stem_files
    theirs = {
        (track.name, split): track
        for subset, split in (("train", "train"), ("train", "valid"), ("test", None))
        for track in musdb.DB(root=os.fspath(root), is_wav=is_wav, subsets=subset, split=split).tracks
    }
    ours = musdb18(root)
    assert {(t.name, t.split if t.split != "test" else None) for t in ours} == set(theirs)
    for track in ours:
        their = theirs[track.name, track.split if track.split != "test" else None]
        assert track.artist == their.artist
        for stem in track.stem_names:
            expected = their.targets[stem].audio.T
            y = track.audio(stem)[0]
            # What fills the last packet is music to some releases of ffmpeg.
            assert 0 <= expected.shape[1] - y.shape[1] < 1024
            np.testing.assert_allclose(y, expected[:, : y.shape[1]], atol=2.0**-14)
