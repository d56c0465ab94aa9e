"""The study of stems for recommendation, on songs that a few tones make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from networks import tiny_checkpoint

import stemfeatures
from experiments.stems_for_recommendation import coordinates, listeners, retrieval, sample_mixes
from experiments.stems_for_recommendation.other_features import describe_true_stems, librosa_features, matrix_row
from experiments.stems_for_recommendation.stem_mixes import Mix, StemExcerpt, misfit, plan_mixes, read_plan, render
from experiments.stems_for_recommendation.stem_songs import StemSong, key_place, read_excerpt, read_song
from experiments.stems_for_recommendation.stems_for_recommendation import Study, main, run
from pipelines import extract_catalog
from stemfeatures.constants import STEMS
from stemfeatures.models.checkpoints import load, resolve
from stemfeatures.vectors.blocks import column_groups

RATE, SECONDS, WINDOW = 22_050, 8.0, 3.0
KEYS = ("C:major", "G:major", "A:minor", "D:dorian")
N_SONGS = 7
STAGES = ("mixes", "extract", "true-stems", "retrieval")
SAMPLES = Path(__file__).parents[1] / "catalog_samples"


def write_song(folder: Path, number: int) -> None:
    """A song of four simple stems, all of them of its own."""
    rng = np.random.default_rng(number)
    t = np.arange(int(SECONDS * RATE)) / RATE
    bpm = 100.0 + 4 * (number % 3)
    beats = np.arange(0, SECONDS, 60 / bpm)

    def play(starts: np.ndarray, midi: np.ndarray, harmonics: int, decay: float) -> np.ndarray:
        y = np.zeros(len(t))
        for start, note in zip(starts, midi):
            since = np.clip(t - start, 0, None)
            on = (since > 0) * (since < 0.5) * np.exp(-decay * since)
            hertz = 440 * 2 ** ((note - 69) / 12)
            y += on * sum(np.sin(2 * np.pi * k * hertz * since) / k for k in range(1, harmonics + 1))
        return y

    def hits(starts: np.ndarray) -> np.ndarray:
        y = np.zeros(len(t))
        for start in starts:
            y += rng.standard_normal(len(t)) * (t >= start) * np.exp(-20 * np.clip(t - start, 0, None))
        return y

    notes = {
        "vocals": rng.integers(50 + 2 * number, 56 + 2 * number, len(beats)),
        "bass": rng.integers(28 + number, 34 + number, len(beats)),
        "other": rng.integers(60, 72, len(beats)),
    }
    starts = {
        "vocals": beats,
        "bass": beats,
        "other": beats + 0.1,
        "drums": np.arange(0.0, SECONDS, 0.2 + 0.03 * number),
    }
    stems = {
        "vocals": play(starts["vocals"], notes["vocals"], 8, 1.0),
        "bass": play(starts["bass"], notes["bass"], 3 + number, 3.0),
        "other": play(starts["other"], notes["other"], 2, 6.0),
        "drums": hits(starts["drums"]),
    }
    folder.mkdir(parents=True)
    for stem, y in stems.items():
        soundfile.write(folder / f"{stem}.wav", 0.2 * y / np.abs(y).max(), RATE)
    times = np.arange(0, SECONDS, 0.01)
    hertz = 440 * 2 ** ((notes["vocals"][np.searchsorted(beats, times, side="right") - 1] - 69) / 12)
    truth = {
        "f0": {"vocals": [{"times_s": times.tolist(), "f0_hz": hertz.tolist()}]},
        "notes": {
            stem: [
                {"start_s": float(s), "end_s": float(s) + 0.5, "midi": float(m)}
                for s, m in zip(at, notes.get(stem, np.full(len(at), 36)))
            ]
            for stem, at in starts.items()
        },
        "beats_s": beats.tolist(),
        "beat_positions": (np.arange(len(beats)) % 2 + 1).tolist(),
        "key": KEYS[number % len(KEYS)],
        "choices": {"tempo_bpm": bpm, "swing": 0.02 * number},
    }
    (folder / "truth.json").write_text(json.dumps(truth))


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("songs")
    for i in range(N_SONGS):
        write_song(root / f"song-{i}", i)
    return root


@pytest.fixture(scope="module")
def study(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    made = Study(songs, folder / "out", seeds=2, bases=1, seconds=WINDOW, model=str(tiny_checkpoint(folder)))
    run(made, STAGES)
    return made


def test_true_stems_find_what_is_shared_and_the_mixture_does_not(study: Study) -> None:
    scores = pd.read_parquet(study.out / "retrieval-questions.parquet")
    mrr = scores.groupby(["task", "system"])["mrr"].mean()
    assert mrr["drums shared", "right stems, true"] > 0.9
    for stem in ("vocals", "drums"):
        assert mrr[f"{stem} shared", "right stems, true"] > mrr[f"{stem} shared", "mixture"]
    assert set(scores["task"]) == set(retrieval.TASKS)
    assert (scores["rank"] <= scores["candidates"]).all()
    dims = scores.groupby(["task", "system"])["dims"].max()
    for task in retrieval.TASKS:
        assert dims[task, f"mixture {retrieval.SMALL}"] <= retrieval.SIZE
    assert "| bass shared (2) |" in (study.out / "retrieval.md").read_text()


def test_true_vocals_find_what_is_shared(study: Study) -> None:
    scores = pd.read_parquet(study.out / "retrieval-questions.parquet")
    assert scores.groupby(["task", "system"])["mrr"].mean()["vocals shared", "right stems, true"] > 0.8


def test_families_are_left_out_and_added_by_what_is_found(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Of three families one tells which mixes share the voice, one says the same of all, one is noise."""
    matrix = pd.read_parquet(study.out / "true-stems.parquet")
    mixes = read_plan(study.plan)
    asked = [q for q in retrieval.questions(mixes, list(matrix.index)) if q.task == "vocals shared"]
    voices = {mix.mix_id: mix.stems["vocals"].song for mix in mixes}
    place = {voice: i for i, voice in enumerate(sorted(set(voices.values())))}
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "vocals__f0_median_hz": [100.0 * 1.1 ** place[voices[track]] for track in matrix.index],
            "vocals__spectral_centroid_mean_hz": rng.uniform(500, 4000, len(matrix)),
        },
        index=matrix.index,
    )
    assert coordinates.greedy(made, "vocals", asked) == ("f0",)
    without = coordinates.left_out(made, "vocals", asked).set_index("family")
    assert without.loc["timbre", "mrr"] == 1.0
    assert without.loc["timbre", "gain"] >= 0.0 > without.loc["f0", "gain"]
    assert coordinates.main([str(study.out)]) == 0
    assert "vocals: 4 questions of 2 songs" in capsys.readouterr().out


def test_true_vocals_are_described_alike_in_another_mixture(study: Study) -> None:
    mixes = {mix.mix_id: mix for mix in read_plan(study.plan)}
    base = next(iter(mixes.values())).base
    own, other = (render(mixes[f"{base}.{kind}"], WINDOW) for kind in ("original", "vocals-shared"))
    net = load(resolve(study.model))
    one, two = (matrix_row(describe_true_stems({**stems, "vocals": own["vocals"]}, net)) for stems in (own, other))
    coordinates = [name for group in column_groups(list(one)) for name in group.names if name in one]
    vocals = [name for name in coordinates if name.startswith("vocals__")]
    assert "vocals__onset_rate" in vocals
    assert not {"vocals__energy_share", "vocals__loudness_relative_lu"} & set(vocals)
    # Masks of one stem leave what the others hide: not more than that differs.
    far = [name for name in vocals if abs(one[name] - two[name]) > 0.15 * abs(one[name]) + 0.05]
    assert len(far) < 0.1 * len(vocals)
    assert one["vocals__onset_count"] == two["vocals__onset_count"]


def test_librosa_describes_the_mixture() -> None:
    t = np.arange(2 * RATE) / RATE
    values = librosa_features(np.sin(2 * np.pi * 440 * t).astype(np.float32))
    assert np.isfinite(list(values.values())).all()
    chroma = [values[f"chroma_{k:02d}_mean"] for k in range(12)]
    assert int(np.argmax(chroma)) == 9


def test_a_taste_for_the_voice_is_served_by_the_voice() -> None:
    rng = np.random.default_rng(0)
    ids = pd.Index([f"track-{i:02d}" for i in range(60)], name="track_id")
    truth = pd.DataFrame({"voice_pitch": rng.uniform(7, 9, 60)}, index=ids)
    columns = {"vocals__f0_median_hz": 2 ** truth["voice_pitch"]}
    for name in ("mixture__spectral_centroid_mean_hz", "drums__onset_rate", "bass__f0_median_hz"):
        columns[name] = pd.Series(2 ** rng.uniform(7, 9, 60), index=ids)
    tables = {"tables": pd.DataFrame(columns)}
    scores = listeners.score_listeners(
        tables, truth, seeds=range(3), tastes=["vocal register"], settings=listeners.Settings(users=40)
    )
    ndcg = scores.groupby("system")["ndcg"].mean()
    assert ndcg[f"right stems {retrieval.SMALL}"] > ndcg[f"mixture {retrieval.SMALL}"] + 0.1
    assert ndcg["the taste itself"] > ndcg["random"] + 0.1
    summary = listeners.listening_summary(scores).set_index("system")
    assert summary.loc[f"right stems {retrieval.SMALL}", "gain_low"] > 0


def test_goes_on_where_it_stopped(study: Study) -> None:
    files = [study.out / name for name in ("mixes.json", "true-stems.parquet")]
    files += sorted((study.out / "mixes").iterdir()) + sorted((study.out / "features" / "_commits").iterdir())
    before = [f.stat().st_mtime_ns for f in files]
    table = (study.out / "retrieval.md").read_text()
    run(study, STAGES)
    assert [f.stat().st_mtime_ns for f in files] == before
    assert (study.out / "retrieval.md").read_text() == table  # equal seeds, equal figures


def test_another_question_needs_another_folder(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--songs", str(study.songs), "--out", str(study.out), "--seconds", "5"]) == 2
    assert "another study" in capsys.readouterr().err
    assert main(["--songs", str(study.out / "none"), "--out", str(study.out / "other")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def around_samples(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, list[Mix]]:
    """The samples with the shared bass line and mixes around them, 6 s each, as the shipped network hears them."""
    folder = tmp_path_factory.mktemp("samples")
    partners = [read_song(f) for f in sorted(songs.iterdir())]
    mixes = sample_mixes.plan(SAMPLES, partners, draws=1, seconds=6.0, seed=0)
    rows = [{"track_id": name, "path": str(SAMPLES / name)} for name in sample_mixes.SAMPLES.values()]
    for mix in mixes:
        path = folder / f"{mix.mix_id}.flac"
        soundfile.write(path, np.sum(list(render(mix, 6.0).values()), axis=0), RATE)
        rows.append({"track_id": mix.mix_id, "path": str(path)})
    extract_catalog(pd.DataFrame(rows), folder / "features", jobs=1, tables=("stems",))
    stemfeatures.build_index(folder / "features")
    return sample_mixes.found(stemfeatures.open_index(folder / "features"), mixes), mixes


@pytest.mark.filterwarnings("ignore::stemfeatures.vectors.transformer.UnusableFeatureWarning")
def test_the_bass_finds_the_bass_line_of_the_samples(around_samples: tuple[pd.DataFrame, list[Mix]]) -> None:
    table, mixes = around_samples
    assert {m.kind for m in mixes} == set(sample_mixes.KINDS)
    for mix in mixes:
        own = {stem for stem, excerpt in mix.stems.items() if Path(excerpt.song).parent == SAMPLES / "truth"}
        assert own == ({"bass"} if mix.kind == "bass-shared" else set(STEMS) - {"bass"})
    found = table.groupby("compared")[["in_first_3", "in_first_wanted"]].sum()
    assert set(table["wanted"]) == {4}
    assert found.loc["bass", "in_first_3"] == 9
    assert found.loc["bass", "in_first_wanted"] > found.loc["mixture", "in_first_wanted"]


def test_a_mix_shares_what_its_kind_says(study: Study, songs: Path) -> None:
    mixes = read_plan(study.plan)
    bases = {m.base for m in mixes}
    for mix in mixes:
        own = {stem for stem, excerpt in mix.stems.items() if Path(excerpt.song).name == mix.base}
        stem, _, what = mix.kind.partition("-")
        assert own == ({stem} if what == "shared" else set(STEMS) - {stem} if what == "swapped" else set(STEMS))
        guests = [Path(excerpt.song).name for s, excerpt in mix.stems.items() if s not in own]
        assert not bases & set(guests)
        assert len(set(guests)) == len(guests)
    again = plan_mixes([read_song(f) for f in sorted(songs.iterdir())], groups=2, bases=1, seconds=WINDOW, seed=0)
    assert again == mixes
    stems = render(mixes[0], WINDOW)
    assert {len(y) for y in stems.values()} == {round(WINDOW * RATE)}
    assert np.abs(np.sum(list(stems.values()), axis=0)).max() <= 0.91


def test_questions_ignore_whatever_else_holds_the_stem() -> None:
    def mix(base: str, kind: str, **songs: str) -> Mix:
        return Mix(f"{base}.{kind}", 0, base, kind, {s: StemExcerpt(songs.get(s, base), 0.0) for s in STEMS})

    mixes = [
        mix("a", "original"),
        mix("a", "bass-shared", vocals="x", drums="y", other="z"),
        mix("a", "bass-swapped", bass="x"),
        mix("a", "vocals-swapped", vocals="x"),
        mix("b", "original"),
        mix("b", "bass-swapped", bass="a"),
    ]
    asked = [q for q in retrieval.questions(mixes, [m.mix_id for m in mixes]) if q.task == "bass shared"]
    assert [(q.query, q.wanted) for q in asked] == [(0, 1), (1, 0)]
    # The song with another bass stays a rival, and so does another song.
    assert all(q.ignored.tolist() == [3, 5] for q in asked)
    x = np.array([[0.0], [2.0], [1.0], [0.5], [3.0], [2.0]])
    assert retrieval.ranks(x, asked).tolist() == [2.0, 3.0]
    assert retrieval.ranks(np.zeros((6, 1)), asked).tolist() == [3.0, 3.0]  # ties count against it


def test_partners_are_brought_to_tempo_and_key() -> None:
    def song(bpm: float, key: str) -> StemSong:
        return StemSong(Path("x"), 10.0, {}, np.zeros(0), bpm, *key_place(key))

    base = song(120.0, "C:major")
    assert misfit(base, song(120.0, "A:minor"), pitched=True) == 0
    assert misfit(base, song(120.0, "F#:major"), pitched=True) > 1
    assert misfit(base, song(120.0, "F#:major"), pitched=False) == 0
    # Two semitones slower and two semitones lower: played faster it fits, but only from B flat.
    slower = 120.0 / 2 ** (2 / 12)
    assert misfit(base, song(slower, "Bb:major"), pitched=True) < 1e-9
    assert misfit(base, song(slower, "E:major"), pitched=True) > 0
    assert misfit(base, song(60.0, "C:major"), pitched=False) > 0
    assert key_place("D:dorian") == (0.0, True)
    assert key_place("H") == (None, None)


def test_a_part_is_read_at_its_speed(tmp_path: Path) -> None:
    t = np.arange(3 * 44_100) / 44_100
    soundfile.write(tmp_path / "bass.wav", 0.5 * np.sin(2 * np.pi * 200 * t), 44_100)
    y = read_excerpt(tmp_path, "bass", 0.5, 1.0, speed=1.25)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    assert len(y) == RATE
    assert abs(int(spectrum.argmax()) - 250) <= 1
