"""The layouts of joint separation and F0: what each is made of, and that the experiment is fair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tone_songs import ToneSong, tone_store

from experiments.layouts2019 import layouts2019
from experiments.layouts2019.layout_tables import as_markdown, summarise
from experiments.layouts2019.networks import LAYOUTS, LayoutConfig, LayoutNet, LayoutOutput, LogAxis, n_parameters
from experiments.layouts2019.runs import Plan, Run, SongExamples, train_together
from experiments.layouts2019.vocal_estimators import (
    LayoutEstimator,
    best_several_threshold,
    best_threshold,
    peaks,
    strongest,
)
from experiments.songs import HELD_OUT, find_real, hold_out
from stemfeatures.audio import write
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH, MIXTURE, N_BINS, N_FFT, N_PITCH_BINS, STEMS
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.errors import DatasetError, ModelError, TrainingError
from stemfeatures.spectra.filters import pitch_frequencies
from stemfeatures.spectra.transform import stft
from stemfeatures.training.data.song_store import SongStore, StoredTrack, build_song_store

TINY = (4, 8, 8, 8, 8, 8)
torch.set_num_threads(1)
PLAN = Plan(steps=24, batch_size=2, n_frames=64, learning_rate=5e-3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tone_store(tmp_path_factory.mktemp("tones"))


def _tiny(layout: str) -> LayoutNet:
    torch.manual_seed(0)
    return LayoutNet(LayoutConfig(layout, TINY))


def _examples(store, plan=PLAN):
    return lambda first, last: SongExamples(store.path, (0, 1, 3), plan, layouts2019.prepare_example, first, last)


def test_partials_of_a_tone_line_up_on_the_shared_axis():
    axis = LogAxis((1, 2, 3))
    k = 150
    t = np.arange(ANALYSIS_SAMPLE_RATE) / ANALYSIS_SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * h * pitch_frequencies()[k] * t) for h in (1, 2, 3))
    planes = axis.planes(stft(torch.from_numpy(tone).float())[None, :N_BINS].abs())[0, :, :, 20]
    together = planes.prod(dim=0)
    assert abs(int(together.argmax()) - k) <= 1
    assert all(float(plane[k - 1 : k + 2].max()) > 3 * float(plane.median()) for plane in planes)


def test_masks_come_back_where_they_were():
    axis = LogAxis((1,))
    mask = torch.zeros(1, 512, 2)
    mask[0, 200] = 1
    back = axis.mask(mask)[0, :, 0]
    hertz = float((back * torch.arange(N_BINS)).sum() / back.sum()) * ANALYSIS_SAMPLE_RATE / N_FFT
    assert hertz == pytest.approx(pitch_frequencies()[200], rel=0.02)
    assert torch.allclose(axis.mask(torch.full((1, 512, 2), 0.3)), torch.tensor(0.3))


def test_layouts_are_of_one_size():
    sizes = {layout: n_parameters(LayoutNet(LayoutConfig(layout))) for layout in LAYOUTS}
    assert max(sizes.values()) < 1.02 * min(sizes.values()), sizes
    with pytest.raises(ValueError, match="unknown layout 'both'"):
        LayoutConfig("both")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_answer_their_tasks_at_any_level(layout):
    net = _tiny(layout).eval()
    x = torch.rand(2, N_BINS, 64)
    with torch.no_grad():
        out, soft = net(x), net(1e-3 * x)
    assert (out.mask is not None) == (layout != "f0")
    assert (out.salience is not None) == (layout != "separation")
    for value, other, bins in ((out.mask, soft.mask, N_BINS), (out.salience, soft.salience, N_PITCH_BINS)):
        if value is not None:
            assert value.shape == (2, bins, 64)
            assert torch.allclose(value, other, atol=1e-3)
    if out.mask is not None:
        assert 0 <= float(out.mask.min()) <= float(out.mask.max()) <= 1


@pytest.mark.parametrize(
    ("layout", "task", "reached"),
    [
        ("shared", "f0", {"encoders.shared", "decoders.f0"}),
        ("shared", "separation", {"encoders.shared", "decoders.separation"}),
        ("separation_to_f0", "separation", {"encoders.separation", "decoders.separation"}),
        ("separation_to_f0", "f0", {"encoders.separation", "decoders.separation", "encoders.f0", "decoders.f0"}),
        ("separation_to_f0_stopped", "separation", {"encoders.separation", "decoders.separation"}),
        ("separation_to_f0_stopped", "f0", {"encoders.f0", "decoders.f0"}),
        ("f0_to_separation", "f0", {"encoders.f0", "decoders.f0"}),
        (
            "f0_to_separation",
            "separation",
            {"encoders.f0", "decoders.f0", "encoders.separation", "decoders.separation"},
        ),
    ],
)
def test_gradients_of_a_task_run_where_the_layout_says(layout, task, reached):
    net = _tiny(layout)
    out = net(torch.rand(1, N_BINS, 64))
    (out.mask if task == "separation" else out.salience).sum().backward()
    found = {
        ".".join(name.split(".")[:2])
        for name, parameter in net.named_parameters()
        if parameter.grad is not None and float(parameter.grad.abs().sum()) > 0
    }
    assert found == reached


def test_every_layout_learns_from_the_same_batches(store, tmp_path, monkeypatch):
    seen: dict[str, list[float]] = {}
    losses = layouts2019.losses

    def watched(net, batch):
        seen.setdefault(net.config.layout, []).append(float(batch["mixture"].double().sum()))
        return losses(net, batch)

    runs = [Run(tmp_path / layout, _tiny(layout), watched, PLAN).open({}) for layout in LAYOUTS]
    history: list[dict[str, dict[str, float]]] = []
    assert train_together(
        runs, _examples(store), layouts2019.prepare_batch, log_every=6, on_log=lambda _, means: history.append(means)
    )
    for run in runs:
        for task in run.net.tasks:
            first, last = (means[run.folder.name][task] for means in (history[0], history[-1]))
            assert last < 0.8 * first, (run.folder.name, task, first, last)
    assert all(batches == seen["f0"] for batches in seen.values())
    assert len(set(seen["f0"])) == PLAN.steps
    other = _examples(store, replace(PLAN, seed=1))(0, 1)[0]["mixture"]
    assert not torch.equal(other, _examples(store)(0, 1)[0]["mixture"])


def test_a_run_that_was_stopped_ends_where_one_that_was_not_does(store, tmp_path):
    plan = replace(PLAN, steps=4, batch_size=1)

    def runs(folder, layouts):
        made = [Run(tmp_path / folder / name, _tiny(name), layouts2019.losses, plan) for name in layouts]
        return [run.open({"name": run.folder.name}) for run in made]

    def train(runs, **options) -> bool:
        return train_together(runs, _examples(store, plan), layouts2019.prepare_batch, log_every=2, **options)

    through = runs("through", ("f0", "shared"))
    assert train(through)
    assert not train(runs("stopped", ("f0",)), max_minutes=0)
    again = runs("stopped", ("f0", "shared"))  # one of them is ahead
    assert [run.step for run in again] == [1, 0]
    assert train(again)
    for a, b in zip(through, again):
        for name, value in a.net.state_dict().items():
            assert torch.equal(value, b.net.state_dict()[name]), name
    steps = [line.split(",")[0] for line in (tmp_path / "stopped" / "f0" / "log.csv").read_text().splitlines()]
    assert steps == ["step", "2", "4"]
    with pytest.raises(ModelError, match="another plan"):
        Run(tmp_path / "stopped" / "f0", _tiny("f0"), layouts2019.losses, PLAN).open({"name": "f0"})


def test_no_singer_is_on_both_sides(store):
    learned, held = hold_out(store.songs, 0.3)
    assert sorted(learned + held) == [0, 1, 2, 3]
    assert held
    assert not {store.songs[i].artist for i in learned} & {store.songs[i].artist for i in held}
    assert hold_out(store.songs[::-1], 0.3)[1] == sorted(3 - i for i in held)  # whatever the order
    assert len(hold_out(store.songs, 1e-6)[1]) == 1  # one at least
    with pytest.raises(DatasetError, match="two artists"):
        hold_out(store.songs[1:3], 0.5)


def test_songs_of_a_store_are_tracks_with_truth(store):
    track = StoredTrack(store, 1, dataset=HELD_OUT)
    truth = track.load()
    assert track.tasks == {"separation", "f0"}
    assert np.allclose(truth.mixture, sum(truth.stems.values()), atol=1e-6)
    original = ToneSong("1", "b", 220 * 2 ** (1 / 5))
    assert np.allclose(truth.stems["vocals"], original.audio("vocals")[0], atol=1e-4)
    times_s, f0_hz = truth.f0
    assert times_s[1] == HOP_LENGTH / ANALYSIS_SAMPLE_RATE
    assert f0_hz[20] == pytest.approx(original.hertz, rel=0.03)


class _Known(LayoutNet):
    """Hands the mixture through as vocals and says bin 120, and nothing from frame 100 on."""

    def forward(self, magnitude: torch.Tensor) -> LayoutOutput:
        salience = torch.full((len(magnitude), N_PITCH_BINS, magnitude.shape[-1]), -9.0)
        salience[:, 120] = torch.where(magnitude.sum(dim=1) > 1e-3, 3.0, -3.0)
        return LayoutOutput(torch.ones_like(magnitude), salience)


def test_estimates_fit_the_signal():
    estimator = LayoutEstimator(_Known(LayoutConfig("shared", TINY)), threshold=0.5)
    rate = 44_100
    y = 0.1 * np.random.default_rng(0).standard_normal((2, 3 * rate)).astype(np.float32)
    smooth = np.stack([np.convolve(channel, np.hanning(64) / 32, "same") for channel in y]).astype(np.float32)
    smooth *= np.interp(np.arange(3 * rate) / rate, [0, 0.2, 1.7, 2.0, 3.0], [0, 1, 1, 0, 0]).astype(np.float32)
    stems = estimator.separate(smooth, rate)
    assert {s: x.shape for s, x in stems.items()} == {"vocals": smooth.shape, "accompaniment": smooth.shape}
    assert np.abs(stems["vocals"] - smooth).max() < 0.01 * np.abs(smooth).max()
    assert np.allclose(stems["vocals"] + stems["accompaniment"], smooth, atol=1e-6)
    times_s, f0_hz = estimator.f0(smooth, rate)
    sounding, silent = (times_s > 0.1) & (times_s < 1.8), times_s > 2.1
    assert np.allclose(f0_hz[sounding], pitch_frequencies()[120], rtol=2e-3)
    assert np.all(f0_hz[silent] < 0)
    with pytest.raises(NotImplementedError):
        LayoutEstimator(_tiny("f0")).separate(y, rate)
    with pytest.raises(NotImplementedError):
        LayoutEstimator(_tiny("separation")).f0(y, rate)


def test_the_strongest_bin_is_refined_and_the_threshold_is_the_best():
    salience = np.zeros((N_PITCH_BINS, 2))
    salience[[100, 101], 0] = 0.6, 0.6
    salience[0, 1] = 0.9
    f0_hz, strength = strongest(salience)
    assert f0_hz == pytest.approx([32.7 * 2 ** (100.5 / 60), 32.7])
    assert strength == pytest.approx([0.6, 0.9])
    rng = np.random.default_rng(0)
    target = np.zeros((N_PITCH_BINS, 400))
    target[50, :200] = 1
    found = np.full((N_PITCH_BINS, 400), 0.01)
    found[50] = np.where(np.arange(400) < 200, rng.uniform(0.30, 0.6, 400), rng.uniform(0.05, 0.24, 400))
    assert 0.24 <= best_threshold([found], [target], [np.ones(400)]) <= 0.32
    found[50, 200:] = 0.9  # false, but not known to be
    assert 0.02 <= best_threshold([found], [target], [np.arange(400) < 200]) <= 0.32
    assert best_threshold([], [], []) == 0.5


def test_several_pitches_are_peaks_above_the_threshold_that_is_best_for_them():
    frequencies = pitch_frequencies()
    salience = np.zeros((N_PITCH_BINS, 3))
    salience[[100, 101, 160], 0] = 0.8, 0.9, 0.5
    salience[[0, N_PITCH_BINS - 1], 1] = 0.7, 0.4
    found = peaks(salience, 0.5)
    assert [list(np.flatnonzero(frame)) for frame in found.T] == [[101, 160], [0], []]
    target = np.zeros((N_PITCH_BINS, 300))
    target[[50, 90], :200] = 1.0  # two voices, then none
    rng = np.random.default_rng(0)
    estimated = np.zeros((N_PITCH_BINS, 300))
    estimated[[50, 90], :200] = rng.uniform(0.4, 0.9, (2, 200))
    estimated[130] = rng.uniform(0.05, 0.28, 300)
    assert 0.28 <= best_several_threshold([estimated], [target], [np.ones(300)]) <= 0.4
    assert best_several_threshold([], [], []) == 0.5

    class Duet(_Known):
        def forward(self, magnitude: torch.Tensor) -> LayoutOutput:
            output = super().forward(magnitude)
            assert output.salience is not None
            output.salience[:, 180] = output.salience[:, 120] - 2
            return output

    y = 0.1 * np.random.default_rng(0).standard_normal((1, 22_050)).astype(np.float32)
    net = LayoutConfig("shared", TINY)
    for threshold, expected in ((0.9, [120]), (0.6, [120, 180])):
        times_s, pitches = LayoutEstimator(Duet(net), several_threshold=threshold).multi_f0(y, 22_050)
        assert len(times_s) == len(pitches)
        assert np.array_equal(pitches[20], frequencies[expected])


def _row(layout: str, seed: int, track: str, sdr: float) -> dict:
    return {
        "task": "separation", "dataset": "d", "layout": layout, "seed": seed, "track": track, "status": "ok",
        "sdr_db": sdr, "nsdr_db": sdr - 1, "parameters": 10, "steps": 5, "seconds": 2.0,
    }  # fmt: skip


def test_gains_are_taken_seed_by_seed():
    rows = [_row("separation", 0, "x", 1.0), _row("separation", 0, "y", 3.0), _row("separation", 1, "x", 10.0)]
    rows += [_row("shared", 0, "x", 2.0), _row("shared", 0, "y", 4.0), _row("shared", 1, "x", 9.5)]
    rows.append(_row("shared", 1, "silent", 99.0) | {"status": "silent_reference"})
    table = summarise(pd.DataFrame(rows)).set_index(["metric", "layout"])
    single, shared = table.loc["sdr_db", "separation"], table.loc["sdr_db", "shared"]
    assert (single["mean"], single["std"], single["n_seeds"], single["n_tracks"]) == (
        6.0,
        pytest.approx(5.657, abs=1e-3),
        2,
        2,
    )
    assert (shared["mean"], shared["gain"], shared["wins"]) == (6.25, 0.25, 1)
    text = as_markdown(table.reset_index(), {"steps": 5, "batch_size": 2, "n_frames": 128})
    assert "| shared | 0.00 M | 2 | 2 | 6.25 ± 4.60 (+0.25, 1/2) | 5.25 ± 4.60 (+0.25, 1/2) |" in text


def test_silence_is_the_least_absolute_error_of_a_voice_that_is_mostly_absent():
    """Two of three bins are silent: half of them kept is worse than none by absolute, better by squared distances."""

    class Constant(LayoutNet):
        kept = 0.0

        def forward(self, magnitude: torch.Tensor) -> LayoutOutput:
            return LayoutOutput(torch.full_like(magnitude, self.kept), None)

    net = Constant(LayoutConfig("separation", TINY))
    vocals = torch.tensor([1.0, 0.0, 0.0]).repeat(8)[None, :, None].expand(1, 24, 64)
    batch = {"mixture": torch.ones(1, 24, 64), "vocals": vocals}
    lost: dict[str, list[float]] = {}
    for distance in layouts2019.DISTANCES:
        for net.kept in (0.0, 1 / 3):
            lost.setdefault(distance, []).append(float(layouts2019.losses(net, batch, distance=distance)["loss"]))
    assert lost["l1"] == pytest.approx([1 / 3, 4 / 9])
    assert lost["l2"] == pytest.approx([0.1 / 3, 0.1 * 2 / 9])


def test_the_command_compares_all_layouts_and_goes_on(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(layouts2019, "LayoutConfig", lambda layout, widths: LayoutConfig(layout, TINY))
    monkeypatch.setattr(layouts2019, "N_CALIBRATION", 2)
    argv = ["--songs", str(store.path), "--out", str(tmp_path), "--steps", "2", "--batch-size", "1", "--limit", "1"]
    argv += ["--n-frames", "64"]
    assert layouts2019.main([*argv, "--seeds", "1", "--minutes-per-run", "1e-9"]) == 0
    out, err = capsys.readouterr()
    assert "no run is done yet" in out
    assert "goes on" in err
    assert layouts2019.main([*argv, "--seeds", "2"]) == 0
    table = capsys.readouterr().out
    for name in (
        "separation",
        "f0",
        "shared",
        "f0 → separation",
        "separation → f0",
        "separation → f0, gradient stopped",
    ):
        assert f"| {name} |" in table
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert set(scores.groupby("layout")["seed"].nunique()) == {2}
    assert set(scores.loc[scores["layout"] == "f0", "task"]) == {"f0"}
    runs = ("--seeds", "1", "--layouts", "f0", "--precision", "bfloat16", "--distance", "l2")
    assert layouts2019.main([*argv, *runs]) == 2  # these were in float32
    assert layouts2019.main([*argv[:2], "--out", str(tmp_path / "half"), *argv[4:], *runs]) == 0
    a, b = (torch.load(p / "f0-seed0" / "last.pt")["net"] for p in (tmp_path, tmp_path / "half"))
    apart = [float((a[name] - b[name]).norm() / a[name].norm()) for name in a if a[name].ndim > 1]
    assert 0 < max(apart) < 0.1
    capsys.readouterr()
    assert (tmp_path / "table.csv").is_file()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*-seed*/scores.parquet")}
    assert len(made) == 2 * len(LAYOUTS)
    assert layouts2019.main([*argv, "--seeds", "2"]) == 0
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert layouts2019.main([*argv, "--seeds", "2", "--learning-rate", "1"]) == 2
    assert "another plan" in capsys.readouterr().err
    assert layouts2019.main([*argv, "--real", str(tmp_path / "nothing")]) == 2
    with pytest.raises(SystemExit):
        layouts2019.main([*argv, "--n-frames", "100"])


def test_real_songs_are_none_that_are_learned_from(store, tmp_path):
    silent = np.zeros((1, 8000), np.float32)
    for name in ("one", "two"):
        (tmp_path / "songs" / name).mkdir(parents=True)
        for stem in (MIXTURE, *STEMS):
            sounds = stem in (MIXTURE, "vocals", "bass")
            y = (silent + len(name) + np.random.default_rng(len(stem) + 7 * ord(name[0])).random(8000)) / 20
            write(tmp_path / "songs" / name / f"{stem}.wav", y if sounds else silent, 22_050)
    songs = SongStore(build_song_store(find_tracks(tmp_path / "songs"), tmp_path / "store")).songs
    assert [len(song.digests) for song in songs] == [3, 3]  # silent drums are the same file in both
    (tmp_path / "songs").rename(tmp_path / "elsewhere")
    assert len(find_real([str(tmp_path / "elsewhere")], [])) == 2
    with pytest.raises(TrainingError, match=r"1 track of .*elsewhere would also be trained on, such as elsewhere/two"):
        find_real([str(tmp_path / "elsewhere")], [song for song in songs if song.track == "two"])


def test_labels_of_an_example_belong_to_its_sound(store):
    """Salience sits where the vocals' own spectrum does, on the axis that the networks see."""
    item = _examples(store)(0, 12)
    axis, hits = LogAxis((1,)), 0
    for i in range(len(item)):
        batch = layouts2019.prepare_batch({k: v[None] for k, v in item[i].items()})
        assert batch["mixture"].shape == batch["vocals"].shape == (1, N_BINS, 64)
        voiced = (batch["salience"][0].amax(dim=0) > 0.8) & (batch["vocals"][0].sum(dim=0) > 5)
        if voiced[20:44].all():
            level = axis.planes(batch["vocals"])[0, 0, :N_PITCH_BINS, 32]
            place = int(batch["salience"][0, :, 32].argmax())
            assert float(level[place - 2 : place + 3].max()) > 0.5 * float(level.max())
            hits += 1
    assert hits >= 2
    assert STEMS[0] == "vocals"
