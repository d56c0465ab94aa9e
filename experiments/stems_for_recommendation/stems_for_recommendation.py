"""Does separating help? Retrieval and recommendation with features of stems against features of the mixture.

    python -m experiments.stems_for_recommendation.stems_for_recommendation --songs SONGS --real MULTITRACKS \\
        --samples catalog_samples --out DIR

``SONGS`` is a folder that ``stemfeatures generate`` made, ``MULTITRACKS`` one of songs with stems. Makes mixes of which
is known what they share, extracts their features, ranks them; simulates listeners whose taste is known, and recommends
tracks that nobody has heard. Every stage leaves its result in DIR and is not done again: stop it at any time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import soundfile

import stemfeatures
from experiments.stems_for_recommendation import listeners, report, retrieval, sample_mixes
from experiments.stems_for_recommendation.other_features import describe_true_stems, librosa_features, matrix_row
from experiments.stems_for_recommendation.stem_mixes import Mix, mixes_around, plan_mixes, read_plan, render, write_plan
from experiments.stems_for_recommendation.stem_songs import read_excerpt, read_song
from pipelines.extraction.extract import extract_catalog
from stemfeatures._util.files import replacing
from stemfeatures.analysis import Analyser
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, STEMS
from stemfeatures.errors import DatasetError, StemfeaturesError
from stemfeatures.models.checkpoints import DEFAULT_MODEL
from stemfeatures.vectors.columns import all_families

#: Keeps the random numbers of real songs apart from those of generated ones.
REAL = 2**20
T = TypeVar("T")
STAGES = ("mixes", "extract", "samples", "songs", "librosa", "true-stems", "retrieval", "listeners")


@dataclass(frozen=True)
class Study:
    """What is asked for; see the command line's help."""

    songs: Path
    out: Path
    real: tuple[Path, ...] = ()
    samples: Path | None = None
    seeds: int = 3
    bases: int = 5
    seconds: float = 16.0
    listening_songs: int = 120
    listening_seeds: int = 10
    listeners: int = 200
    model: str = DEFAULT_MODEL
    seed: int = 0
    limit: int | None = None

    @property
    def plan(self) -> Path:
        return self.out / "mixes.json"

    @property
    def sample_plan(self) -> Path:
        return self.out / "sample-mixes.json"

    @property
    def mixes(self) -> list[Mix]:
        mixes = read_plan(self.plan)
        bases = list(dict.fromkeys(m.base for m in mixes if m.group >= 0))[: self.limit]
        return [m for m in mixes if m.group < 0 or m.base in bases]


def make_mixes(study: Study) -> None:
    """``mixes.json``, and the mixes as mono FLAC in ``mixes/``."""
    if not study.plan.is_file():
        generated = [read_song(f) for f in _folders(study.songs)]
        mixes = plan_mixes(generated, groups=study.seeds, bases=study.bases, seconds=study.seconds, seed=study.seed)
        real = [read_song(f) for root in study.real for f in _folders(root)]
        for i, song in enumerate(real):
            rng = np.random.default_rng([study.seed, REAL, i])
            partners = [s for s in real if s is not song]
            mixes += mixes_around(song, partners, group=-1, seconds=study.seconds, rng=rng)
        write_plan(mixes, study.plan)
    if study.samples is not None and not study.sample_plan.is_file():
        bases = {m.base for m in study.mixes}
        partners = [read_song(f) for f in _folders(study.songs) if f.name not in bases]
        around = sample_mixes.plan(study.samples, partners, draws=study.seeds, seconds=study.seconds, seed=study.seed)
        write_plan(around, study.sample_plan)
    folder = study.out / "mixes"
    folder.mkdir(parents=True, exist_ok=True)
    for mix in _counted("mixes", study.mixes + _sample_mixes(study)):
        path = folder / f"{mix.mix_id}.flac"
        if not path.is_file():
            _write(path, np.sum(list(render(mix, study.seconds).values()), axis=0))


def extract(study: Study) -> None:
    """``features/``, ``features-real/``: the mixes (and the sample catalogue), as ``stemfeatures extract`` does it."""
    rows: dict[str, list[dict[str, str]]] = {"features": [], "features-real": []}
    if study.samples is not None:
        table = pd.read_csv(study.samples / "catalog.csv")
        rows["features"] += [{"track_id": p, "path": str(study.samples / p)} for p in table["path"]]
    for mix in study.mixes + _sample_mixes(study):
        path = study.out / "mixes" / f"{mix.mix_id}.flac"
        rows["features-real" if mix.group == -1 else "features"].append({"track_id": mix.mix_id, "path": str(path)})
    for name, some in rows.items():
        if some:
            _extract(some, study, study.out / name)
            stemfeatures.build_index(study.out / name)


def ask_samples(study: Study) -> None:
    """``samples.csv``: what is found from the samples that share a bass line."""
    if study.samples is None:
        return
    table = sample_mixes.found(stemfeatures.open_index(study.out / "features"), _sample_mixes(study))
    table.to_csv(study.out / "samples.csv", index=False)
    print(table.to_string(index=False))


def extract_songs(study: Study) -> None:
    """``songs/``: excerpts to listen to; ``truth.parquet``: what they are like; ``songs-features/``."""
    target = study.out / "truth.parquet"
    folder = study.out / "songs"
    folder.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        songs = {s.name: s for s in map(read_song, _folders(study.songs))}
        windows = listeners.listening_windows(list(songs.values()), study.seconds, limit=study.listening_songs)
        rows = []
        for name, start in _counted("songs", list(windows.items())):
            y = listeners.excerpt_of(songs[name], start, study.seconds)
            y *= min(1.0, 0.9 / np.abs(y).max())
            _write(folder / f"{name}.flac", y)
            rows.append(
                {"track_id": name, "start_s": start, **listeners.truth_of(songs[name], start, study.seconds, y)}
            )
        pd.DataFrame(rows).set_index("track_id").dropna().to_parquet(target)
    ids = pd.read_parquet(target).index
    _extract([{"track_id": i, "path": str(folder / f"{i}.flac")} for i in ids], study, study.out / "songs-features")


def describe_with_librosa(study: Study) -> None:
    """``librosa.parquet`` and ``songs-librosa.parquet``."""
    for name, folder, ids in _sets(study):

        def row(track_id: str, folder: Path = folder) -> dict[str, float]:
            return librosa_features(soundfile.read(folder / f"{track_id}.flac", dtype="float32")[0])

        _collect(study.out / f"{name}librosa.parquet", ids, row)


def describe_stems(study: Study) -> None:
    """``true-stems.parquet`` and ``songs-true-stems.parquet``: the ceiling."""
    net = Analyser(study.model).net
    mixes = {m.mix_id: m for m in study.mixes}
    _collect(
        study.out / "true-stems.parquet",
        list(mixes),
        lambda i: matrix_row(describe_true_stems(render(mixes[i], study.seconds), net)),
    )
    if (study.out / "truth.parquet").is_file():
        starts = pd.read_parquet(study.out / "truth.parquet")["start_s"]

        def row(track_id: str) -> dict[str, float]:
            folder = study.songs / track_id
            excerpts = {s: read_excerpt(folder, s, starts[track_id], study.seconds) for s in STEMS}
            return matrix_row(describe_true_stems(excerpts, net))

        _collect(study.out / "songs-true-stems.parquet", list(starts.index), row)


def score_retrieval(study: Study) -> None:
    """``retrieval-questions.parquet``, their means ``retrieval.csv``, and ``retrieval.md`` to read."""
    scored, survived = [], ""
    for name, folder in (("generated", "features"), ("real", "features-real")):
        if not (study.out / folder).is_dir():
            continue
        mixes = [m for m in study.mixes if (m.group >= 0) == (name == "generated")]
        matrix = stemfeatures.features_matrix(study.out / folder, families=all_families())
        matrix = matrix.loc[[m.mix_id for m in mixes if m.mix_id in matrix.index]]
        if missing := len(mixes) - len(matrix):
            print(f"{missing} of {len(mixes)} mixes of {name} songs have no features", file=sys.stderr)
        asked = retrieval.questions(mixes, list(matrix.index))
        tables = _tables(study, matrix, "")
        scored.append(retrieval.score(asked, tables).assign(set=name))
        if "true-stems" in tables:
            survived += report.agreement_text(retrieval.agreement(matrix, tables["true-stems"]), name)
    pd.concat(scored).to_parquet(study.out / "retrieval-questions.parquet")
    summaries = pd.concat([retrieval.summary(s).assign(set=s["set"].iloc[0]) for s in scored])
    summaries.to_csv(study.out / "retrieval.csv", index=False)
    _say(study.out / "retrieval.md", report.retrieval_text(summaries, pd.concat(scored)) + survived)


def score_listeners(study: Study) -> None:
    """``listeners-seeds.parquet``, their means ``listeners.csv``, and ``listeners.md`` to read."""
    truth = pd.read_parquet(study.out / "truth.parquet")
    ours = stemfeatures.features_matrix(study.out / "songs-features")
    truth = truth.loc[[i for i in truth.index if i in ours.index]]
    tables = _tables(study, ours.loc[truth.index], "songs-")
    seeds = range(study.seed, study.seed + study.listening_seeds)
    settings = listeners.Settings(users=study.listeners)
    by_seed = listeners.score_listeners(tables, truth, seeds=seeds, settings=settings)
    by_seed.to_parquet(study.out / "listeners-seeds.parquet")
    summary = listeners.listening_summary(by_seed)
    summary.to_csv(study.out / "listeners.csv", index=False)
    _say(study.out / "listeners.md", report.listening_text(summary, n_tracks=len(truth)))


def _say(path: Path, text: str) -> None:
    path.write_text(text)
    print(text)


def _tables(study: Study, matrix: pd.DataFrame, prefix: str) -> dict[str, pd.DataFrame]:
    """The matrix, and what else describes all of its tracks."""
    tables = {"tables": matrix}
    for name in ("librosa", "true-stems"):
        path = study.out / f"{prefix}{name}.parquet"
        if not path.is_file():
            continue
        found = pd.read_parquet(path)
        if missing := len(matrix.index.difference(found.index)):
            print(f"{name} left out: it lacks {missing} of {len(matrix)} tracks", file=sys.stderr)
        else:
            tables[name] = found.loc[matrix.index]
    return tables


def run(study: Study, stages: Sequence[str] = STAGES) -> None:
    """Do some stages, in their order. Raises what they raise, all of it of :mod:`stemfeatures.errors`."""
    study.out.mkdir(parents=True, exist_ok=True)
    _same_question(study)
    work: dict[str, Callable[[Study], None]] = {
        "mixes": make_mixes,
        "extract": extract,
        "samples": ask_samples,
        "songs": extract_songs,
        "librosa": describe_with_librosa,
        "true-stems": describe_stems,
        "retrieval": score_retrieval,
        "listeners": score_listeners,
    }
    for stage in STAGES:
        if stage in stages:
            work[stage](study)


def _same_question(study: Study) -> None:
    """What is in the folder was made for the same question, or DatasetError."""
    path = study.out / "study.json"
    asked = {
        k: str(v) if isinstance(v, Path | tuple) else v for k, v in asdict(study).items() if k not in ("out", "limit")
    }
    if path.is_file() and (before := json.loads(path.read_text())) != asked:
        differ = ", ".join(f"{k}: {before.get(k)} before, {v} now" for k, v in asked.items() if before.get(k) != v)
        raise DatasetError(f"it holds another study ({differ})", source=str(study.out), stage="study")
    path.write_text(json.dumps(asked, indent=1))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DatasetError("no such folder", source=str(root), stage="mixes")
    names = {f"{stem}" for stem in STEMS}
    found = [f for f in sorted(root.iterdir()) if f.is_dir() and names & {p.stem for p in f.iterdir()}]
    if not found:
        raise DatasetError("no folders with stems in it", source=str(root), stage="mixes")
    return found


def _extract(rows: list[dict[str, str]], study: Study, out: Path) -> None:
    extract_catalog(
        pd.DataFrame(rows), out, model=study.model, device="cpu", jobs=1, tables=("stems", "embeddings"),
        progress=lambda p: _tell(f"{out.name}: {p.n_skipped + p.n_done + p.n_failed} of {p.n_total}"),
    )  # fmt: skip


def _sample_mixes(study: Study) -> list[Mix]:
    return read_plan(study.sample_plan) if study.samples is not None else []


def _sets(study: Study) -> list[tuple[str, Path, list[str]]]:
    sets = [("", study.out / "mixes", [m.mix_id for m in study.mixes])]
    if (study.out / "truth.parquet").is_file():
        ids = list(pd.read_parquet(study.out / "truth.parquet").index)
        sets.append(("songs-", study.out / "songs", ids))
    return sets


def _collect(path: Path, ids: list[str], row: Callable[[str], dict[str, float]]) -> None:
    """A table with a row for each id; what an earlier, broken off run has done is kept."""
    done = {} if not path.is_file() else pd.read_parquet(path).to_dict("index")
    todo = [i for i in ids if i not in done]
    for n, track_id in enumerate(_counted(path.stem, todo), 1):
        done[track_id] = row(track_id)
        if n % 20 == 0 or n == len(todo):
            with replacing(path) as partial:
                pd.DataFrame.from_dict(done, orient="index").rename_axis("track_id").to_parquet(partial)


def _write(path: Path, y: np.ndarray) -> None:
    with replacing(path) as partial:
        soundfile.write(partial, y, ANALYSIS_SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def _counted(what: str, items: Sequence[T]) -> Iterable[T]:
    for n, item in enumerate(items, 1):
        _tell(f"{what}: {n} of {len(items)}")
        yield item


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--songs", type=Path, required=True, help="generated songs, with stems and truth.json")
    add("--out", type=Path, required=True, help="folder of the study")
    add("--real", type=Path, nargs="*", default=[], metavar="DIR", help="folders of real songs with stems")
    add("--samples", type=Path, metavar="DIR", help="catalog_samples, to be put among the mixes")
    add("--seeds", type=int, default=3, help="seeds of the mixes (default: %(default)s)")
    add("--bases", type=int, default=5, help="base songs a seed (default: %(default)s)")
    add("--seconds", type=float, default=16.0, help="length of a mix (default: %(default)s)")
    add("--listening-songs", type=int, default=120, help="songs to listen to (default: %(default)s)")
    add("--listening-seeds", type=int, default=10, help="seeds of the listeners (default: %(default)s)")
    add("--listeners", type=int, default=200, help="listeners a seed (default: %(default)s)")
    add("--model", default=DEFAULT_MODEL, help="checkpoint (default: %(default)s)")
    add("--seed", type=int, default=0, help="the first seed (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="use only the first N generated base songs of the plan (default: all)")
    add("--stages", nargs="*", choices=STAGES, default=list(STAGES), help="only these (default: all)")
    asked = vars(parser.parse_args(arguments))
    stages = asked.pop("stages")
    try:
        run(Study(**{**asked, "real": tuple(asked["real"])}), stages)
    except StemfeaturesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
