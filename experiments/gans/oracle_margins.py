"""Logits that the discriminators of finished runs give the oracle, over those they give the run's own estimates.

Excerpts of songs that a run has not seen as pairs are shown to its discriminators twice: separated by the run's own
generator, and by the oracle, the mask ``|v| / (|v| + |a|)`` of the true sources. A discriminator that is of use to the
generator gives the oracle the higher logit. Written are, for each method and number of pairs of
:mod:`experiments.gans.few_pairs`, the mean difference of every term of the summed logit, and the share of
excerpts for which the sum prefers the oracle, with and without ``d_P``: ``oracle_margins.csv`` has a row a run,
``oracle_margins.md`` the means over seeds.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from experiments.gans.gan_runs import SCORES
from experiments.run_folder import RUN, STATE
from stemfeatures._util.files import write_replace
from stemfeatures.errors import DatasetError, StemfeaturesError
from stemfeatures.factorgan.partition import Joint
from stemfeatures.training.config import LossWeights, TrainConfig, with_current_keys
from stemfeatures.training.data.draws import Draws
from stemfeatures.training.data.excerpts import RecordingExcerpts
from stemfeatures.training.data.recording_store import RecordingStore
from stemfeatures.training.objectives.find import find_objective
from stemfeatures.training.objectives.gan import FactorGANObjective, GanObjective

_NAME = re.compile(r"(?P<method>.+)-p(?P<pairs>\d+)-s(?P<seed>\d+)")
ALL, WITHOUT = "prefer the oracle", "without d_P"


def margins_of(folder: Path, store: RecordingStore, *, n: int = 40) -> dict[str, float]:
    """Of one run: mean logit of the oracle's sources over that of the run's own, by term, and the shares ``ALL`` and
    ``WITHOUT`` of ``n`` excerpts, 0..1.

    Raises
    ------
    DatasetError : all songs were pairs. ModelError : the state does not fit.
    """
    note = json.loads((folder / RUN).read_text())
    recipe = with_current_keys(note["recipe"])
    config = TrainConfig(**recipe | {"loss": LossWeights(**recipe["loss"])})
    objective = find_objective(config.objective)(config, "cpu")
    if not isinstance(objective, FactorGANObjective | GanObjective):
        message = f"{config.objective!r} has no discriminators of sources"
        raise DatasetError(message, source=str(folder), stage="experiment")
    objective.load_state_dict(torch.load(folder / STATE, map_location="cpu", weights_only=True))
    songs = store.recordings["pairs"]
    others = [place for place, song in enumerate(songs) if song.name not in note["pairs"] and song.levels[0] > 0]
    if not others:
        raise DatasetError("no songs that the run has not seen", source=str(folder), stage="experiment")
    network = objective.network
    excerpts = RecordingExcerpts(store.select(others), Draws(pairs=1), n_samples=network.n_samples, seed=config.seed)
    network.net.eval()
    discriminator = objective.discriminator.eval()
    differences: dict[str, list[float]] = {}
    with torch.inference_mode():
        for index in range(n):
            sources = torch.from_numpy(excerpts.example(index)["pairs"])
            truth = network.centre(network.spectra(sources))
            mixture = network.spectra(sources.sum(dim=1))
            masks = truth / truth.sum(dim=1, keepdim=True).clamp_min(1e-6)
            oracle = torch.log1p(masks * network.centre(mixture)[:, None])
            own, known = (discriminator.terms(_joint(x)) for x in (network.separate(mixture), oracle))
            for term in own:
                differences.setdefault(term, []).append(float((known[term] - own[term]).mean()))
    table = pd.DataFrame(differences)
    shares = {ALL: table.sum(axis=1), WITHOUT: table.drop(columns="d_P(sources)", errors="ignore").sum(axis=1)}
    return dict(table.mean()) | {name: float((total > 0).mean()) for name, total in shares.items()}


def _joint(sources: Tensor) -> Joint:
    return Joint({"target": sources[:, :1], "accompaniment": sources[:, 1:]})


def oracle_margins(out: Path, *, n: int = 40) -> pd.DataFrame:
    """A row for every finished run of ``out`` that has discriminators of sources; raises as :func:`margins_of`."""
    stores = sorted([*out.glob("recordings-*"), *out.glob("parts-*")])  # earlier versions wrote parts-*
    if len(stores) != 1:
        raise DatasetError(f"{len(stores)} stores of recordings, not one", source=str(out), stage="experiment")
    store = RecordingStore(stores[0])
    rows = []
    for folder in sorted(path.parent for path in out.glob(f"*/{SCORES}")):
        found = _NAME.fullmatch(folder.name)
        recipe = json.loads((folder / RUN).read_text())["recipe"]
        if found and recipe["objective"] in ("gan", "factorgan"):
            which = {"method": found["method"], "pairs": int(found["pairs"]), "seed": int(found["seed"])}
            rows.append(which | margins_of(folder, store, n=n))
    if not rows:
        raise DatasetError("no finished runs with discriminators of sources", source=str(out), stage="experiment")
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Means over seeds."""
    means = table.drop(columns="seed").groupby(["method", "pairs"]).mean().reset_index()
    means = means[[*(name for name in means if name not in (ALL, WITHOUT)), ALL, WITHOUT]]
    lines = ["| " + " | ".join(means.columns) + " |", "| --- |" + " --: |" * (len(means.columns) - 1)]
    for row in means.to_dict("records"):
        cells = [row["method"], str(row["pairs"])]
        for key in means.columns[2:]:
            value = row[key]
            cells.append("" if pd.isna(value) else f"{value:.0%}" if key in (ALL, WITHOUT) else f"{value:+.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gans.oracle_margins", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of an experiment with few pairs")
    parser.add_argument("-n", type=int, default=40, help="excerpts a run (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.n < 1:
        parser.error("-n starts at 1")
    try:
        table = oracle_margins(args.out, n=args.n)
    except (OSError, StemfeaturesError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table.to_csv(args.out / "oracle_margins.csv", index=False)
    write_replace(args.out / "oracle_margins.md", markdown(table).encode())
    print(markdown(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
