"""Loaders of evaluation folders: layouts, channels, label times."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.datasets.mir1k import Mir1kTrack, mir1k_tracks
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.datasets.stem_folders import fill_unvoiced
from stemfeatures.errors import CatalogError, DecodeError
from stemfeatures.evaluation.estimators.references import Mixture
from stemfeatures.evaluation.f0 import resample_f0
from stemfeatures.evaluation.run import evaluate

RATE = 16_000


def write_song(folder: Path, stems: dict[str, np.ndarray], *, rate: int = RATE, suffix: str = ".flac") -> None:
    folder.mkdir(parents=True)
    for name, signal in {"mixture": sum(stems.values()), **stems}.items():
        soundfile.write(folder / f"{name}{suffix}", np.asarray(signal).T, rate)


def tone(hz: float, seconds: float = 1.0, *, rate: int = RATE, level: float = 0.2) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def write_clip(folder: Path, name: str, accompaniment: np.ndarray, voice: np.ndarray, semitones: list[float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.wav", np.stack([accompaniment, voice], axis=1), RATE)
    (folder / f"{name}.pv").write_text("\n".join(f"{s:g} " for s in semitones))


def test_stem_folder_holds_what_its_files_say(tmp_path: Path) -> None:
    song = tmp_path / "set" / "Søng 1"
    write_song(song, {"vocals": tone(440), "drums": tone(100)})
    (song / "beats.tsv").write_text("0.10 \t1\n0.50\t 2\n\n0.90\t1\n")
    [track] = find_tracks(tmp_path / "set")
    assert (track.name, track.dataset, track.tasks) == ("Søng 1", "set", {"separation", "beats"})
    truth = track.load()
    assert truth.sample_rate == RATE
    assert set(truth.stems) == {"vocals", "drums"}
    np.testing.assert_allclose(truth.mixture, sum(truth.stems.values()), atol=1e-4)
    np.testing.assert_allclose(truth.stems["drums"][0], tone(100), atol=1e-4)
    assert truth.f0 is None
    np.testing.assert_array_equal(truth.beats, [[0.1, 0.5, 0.9], [1, 2, 1]])


def test_song_folder_dataset_and_parent_find_the_same_tracks(tmp_path: Path) -> None:
    write_song(tmp_path / "a" / "one", {"vocals": tone(440)}, suffix=".wav")
    write_song(tmp_path / "a" / "two", {"vocals": tone(330)})
    write_clip(tmp_path / "mir1k", "x_1", tone(100), tone(300), [60])
    (tmp_path / "papers").mkdir()
    names = [(t.dataset, t.name) for t in find_tracks(tmp_path)]
    assert names == [("a", "one"), ("a", "two"), ("mir1k", "x_1")]
    assert [t.name for t in find_tracks(tmp_path / "a")] == ["one", "two"]
    assert [(t.dataset, t.name) for t in find_tracks(tmp_path / "a" / "one")] == [("a", "one")]


@pytest.mark.parametrize("missing", ["nowhere", "."])
def test_folders_without_tracks_are_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(CatalogError, match=rf"{tmp_path.name}.* \[catalog\]"):
        find_tracks(tmp_path / missing)
    with pytest.raises(CatalogError, match=r"\[train\]"):
        find_tracks(tmp_path / missing, stage="train")
    with pytest.raises(CatalogError, match=r"\[evaluate\]"):
        evaluate("separation", tmp_path / missing, Mixture())


def test_stem_of_another_length_is_named(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": tone(440), "bass": tone(50)})
    soundfile.write(tmp_path / "song" / "bass.flac", tone(50, 0.9), RATE)
    [track] = find_tracks(tmp_path)
    with pytest.raises(CatalogError, match=r"bass\.flac.*does not match"):
        track.load()


def test_unreadable_audio_is_named(tmp_path: Path) -> None:
    write_song(tmp_path / "song", {"vocals": tone(440)})
    (tmp_path / "song" / "vocals.flac").write_bytes(b"not audio")
    with pytest.raises(DecodeError, match=r"vocals\.flac"):
        find_tracks(tmp_path)[0].load()


@pytest.mark.parametrize(
    "text", ["0.1,440\n0.2,what\n", "0.1\n", "0.2,440\n0.1,440\n", "0.1,nan\n", "0.1,-440\n0.2,1\n"]
)
def test_malformed_annotations_are_named(tmp_path: Path, text: str) -> None:
    write_song(tmp_path / "song", {"vocals": tone(440)})
    (tmp_path / "song" / "vocals_f0.csv").write_text(text)
    with pytest.raises(CatalogError, match=r"vocals_f0\.csv"):
        find_tracks(tmp_path)[0].load()


def test_f0_frames_that_are_not_listed_are_unvoiced(tmp_path: Path) -> None:
    """Tony and MedleyDB leave unvoiced frames out."""
    hop = 256 / 44_100
    listed = np.r_[50:60, 80:100]
    write_song(tmp_path / "song", {"vocals": tone(440)})
    (tmp_path / "song" / "vocals_f0.csv").write_text("".join(f"{k * hop:.9f},220.5,[1] \n" for k in listed))
    times, f0 = find_tracks(tmp_path)[0].load().f0
    assert np.all(np.diff(times) > hop / 2)
    np.testing.assert_allclose(times, hop * np.round(times / hop), atol=1e-6)
    # frame 0 may fall to either side of zero by rounding
    assert set(np.round(times / hop).astype(int)) | {0} == set(range(int(1.0 / hop - 0.5) + 1))
    np.testing.assert_array_equal(np.round(times[f0 > 0] / hop), listed)


def test_a_complete_f0_annotation_stays_as_it_is() -> None:
    times = 0.01 * np.arange(100) + np.random.default_rng(0).uniform(-1e-4, 1e-4, 100)
    times[0] = 0
    f0 = np.where(np.arange(100) % 7, 100.0, 0.0)
    filled_times, filled = fill_unvoiced(times, f0, 1.0)
    np.testing.assert_array_equal(filled_times, times)
    np.testing.assert_array_equal(filled, f0)


def test_mir1k_channels_mixture_and_label_times(tmp_path: Path) -> None:
    write_clip(tmp_path / "k", "x_1", tone(100, level=0.1), tone(300), [0, 69, 57.5])
    [track] = find_tracks(tmp_path / "k")
    truth = track.load()
    np.testing.assert_allclose(truth.stems["accompaniment"][0], tone(100, level=0.1), atol=1e-4)
    np.testing.assert_allclose(truth.stems["vocals"][0], tone(300), atol=1e-4)
    np.testing.assert_allclose(truth.mixture[0], tone(100, level=0.1) + tone(300), atol=1e-4)
    times, f0 = truth.f0
    np.testing.assert_allclose(times, [0.02, 0.04, 0.06])
    np.testing.assert_allclose(f0, [0, 440, 440 * 2 ** (-11.5 / 12)])


def test_mir1k_refuses_mono(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(100), RATE)
    (tmp_path / "x.pv").write_text("60\n")
    with pytest.raises(CatalogError, match=r"x\.wav.*left accompaniment"):
        mir1k_tracks(tmp_path)[0].load()


@pytest.mark.skipif("STEMFEATURES_EVAL_DATA" not in os.environ, reason="STEMFEATURES_EVAL_DATA names no MIR-1K folder")
def test_mir1k_labels_fit_the_real_voices_without_a_lag() -> None:
    """pYIN on the right channel, which knows nothing of the labels, agrees best with them where they say they are."""
    librosa = pytest.importorskip("librosa")
    tracks = [t for t in find_tracks(os.environ["STEMFEATURES_EVAL_DATA"]) if isinstance(t, Mir1kTrack)]
    if not tracks:
        pytest.skip("STEMFEATURES_EVAL_DATA holds no MIR-1K clips")
    truth = tracks[0].load()
    hop = 128
    f0, _, _ = librosa.pyin(
        truth.stems["vocals"][0], fmin=65, fmax=1047, sr=truth.sample_rate, frame_length=1024, hop_length=hop
    )
    times, labels = truth.f0
    lags = np.arange(-30, 31, 5) / 1000
    errors = []
    for lag in lags:
        found = resample_f0(hop / truth.sample_rate * np.arange(len(f0)), f0, times + lag)
        both = (found > 0) & (labels > 0)
        errors.append(np.mean(np.minimum(1200 * np.abs(np.log2(found[both] / labels[both])), 100)))
    assert abs(lags[np.argmin(errors)]) <= 0.005
    assert min(errors) < 20
