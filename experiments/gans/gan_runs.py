"""Adversarial runs of an experiment: trained and scored one after the other, each going on where it was stopped.

Every run has a folder, see :mod:`experiments.run_folder`; ``scores.json`` is in it once the run is done. The
tables are made of the scores that are there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from experiments.run_folder import STATE, append_log, cut_log, open_folder
from stemfeatures._util.files import replacing, write_replace
from stemfeatures.errors import StemfeaturesError
from stemfeatures.factorgan import FactorGAN, GanTrainer, Joint
from stemfeatures.factorgan.trainer import GENERATOR_LOSSES

SCORES = "scores.json"
Row = dict[str, Any]


@dataclass
class GanRun:
    """A generator and its adversary in training.

    Attributes
    ----------
    real, generated : the sources of :meth:`~stemfeatures.factorgan.GanTrainer.step`; they draw from torch's own random
        stream, which is stored with the state.
    seconds : processor time of all steps so far, over all resumptions.
    """

    folder: Path
    generator: nn.Module
    adversary: GanTrainer
    real: Mapping[str, Callable[[], Joint]]
    generated: Callable[[], Joint]
    step: int = 0
    seconds: float = 0.0

    def train(
        self, steps: int, *, log_every: int = 100, save_every: int = 200, stop_at: float = math.inf,
        on_log: Callable[[int, dict[str, float]], None] | None = None,
    ) -> bool:  # fmt: skip
        """Train until ``steps``; False when the clock (``time.monotonic``) passed ``stop_at`` before. ``on_log`` is
        called with the step and the mean terms since the last call."""
        self._restore()
        sums: dict[str, Tensor] = {}
        self.generator.train()
        while self.step < steps:
            started = time.process_time()
            terms = self.adversary.step(self.real, self.generated)
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
            self.step += 1
            self.seconds += time.process_time() - started
            if self.step % log_every == 0:
                means = {name: float(value) / log_every for name, value in sums.items()}
                append_log(self.folder, self.step, self.seconds, means)
                if on_log is not None:
                    on_log(self.step, means)
                sums = {}
            late = time.monotonic() > stop_at
            if self.step % save_every == 0 or late or self.step == steps:
                self._save()
            if late and self.step < steps:
                return False
        return True

    def _save(self) -> None:
        state = {
            "generator": self.generator.state_dict(),
            "adversary": self.adversary.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rng": torch.get_rng_state(),
        }
        with replacing(self.folder / STATE) as partial:
            torch.save(state, partial)

    def _restore(self) -> None:
        if (self.folder / STATE).is_file():
            stored = torch.load(self.folder / STATE, weights_only=True)
            self.generator.load_state_dict(stored["generator"])
            self.adversary.load_state_dict(stored["adversary"])
            torch.set_rng_state(stored["rng"])
            self.step, self.seconds = int(stored["step"]), float(stored["seconds"])
        cut_log(self.folder, self.step)


class GanSetting(Protocol):
    """What the settings of these experiments have in common."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def rounds(self) -> int: ...
    @property
    def objective(self) -> str: ...


def adversary_of(generator: nn.Module, game: FactorGAN, setting: GanSetting) -> GanTrainer:
    """What trains a generator against the discriminators of ``game``."""
    return GanTrainer(
        game, generator.parameters(), learning_rate=setting.learning_rate, rounds=setting.rounds,
        loss=setting.objective,
    )  # fmt: skip


def draw_strips(strips: Mapping[str, np.ndarray], path: Path, *, height: float, **options: Any) -> None:
    """A picture of strips under each other by name; ``height`` of each in inches, ``options`` are those of imshow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, height * len(strips)), layout="constrained")
    for axes, (name, pixels) in zip(figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips.items()):
        axes.imshow(pixels, **options)
        axes.set_title(name, fontsize=8, loc="left", pad=2)
        axes.axis("off")
    figure.savefig(path, dpi=120)


def open_run(folder: Path, settings: Mapping[str, Any]) -> list[Row] | None:
    """Begin or go on in a folder; the scores where the run is done.

    Raises
    ------
    ModelError : the folder holds a run of other settings.
    """
    open_folder(folder, settings)
    scores = folder / SCORES
    return json.loads(scores.read_text()) if scores.is_file() else None


def store_scores(folder: Path, rows: Sequence[Row]) -> None:
    """The end of a run."""
    write_replace(folder / SCORES, f"{json.dumps(list(rows), indent=1)}\n".encode())


@dataclass(frozen=True)
class Shown:
    """A metric in the tables: its ``key`` in the rows, its ``title`` and how many ``digits`` it has."""

    key: str
    title: str
    digits: int


def write_tables(
    out: Path, rows: Sequence[Row], metrics: Sequence[Shown], *, across: str, by: Sequence[str] = ()
) -> str:
    """Write ``scores.csv`` (a row a run and seed), ``table.csv`` and ``table.md`` (mean and standard deviation over
    seeds, with n - 1); returns the latter.

    A table for every metric and combination of the columns ``by``, with the values of ``across`` as columns and the
    methods as rows.
    """
    import pandas as pd

    scores = pd.DataFrame(list(rows))
    scores.to_csv(out / "scores.csv", index=False)
    keys = [metric.key for metric in metrics]
    groups = [*by, "method", across]
    summary = scores.groupby(groups, sort=False, dropna=False)[keys].agg(["mean", "std", "count"])
    summary.columns = [f"{key}_{what}" for key, what in summary.columns]
    summary.reset_index().to_csv(out / "table.csv", index=False)
    sections = []
    for metric in metrics:
        for value, group in scores.groupby(list(by), sort=True) if by else [((), scores)]:
            named = ", ".join(f"{name} = {v}" for name, v in zip(by, value))
            columns = sorted(group[across].unique())
            head = ["method", *(f"{column:,}" if column else "none" for column in columns)]
            lines = [head, ["---", *["--:"] * len(columns)]]
            for method in group["method"].unique():
                cells = [group[(group["method"] == method) & (group[across] == c)][metric.key] for c in columns]
                lines.append([method, *(_cell(cell, metric.digits) for cell in cells)])
            title = f"**{metric.title}**" + (f" ({named})" if named else "") + f", by {across}"
            sections.append(title + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    text = "\n\n".join(sections) + "\n"
    write_replace(out / "table.md", text.encode())
    return text


def _cell(values: Any, digits: int) -> str:
    if not len(values):
        return ""
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def experiment_parser(
    module: str, description: str | None, *, pairs: Sequence[int], steps: int
) -> argparse.ArgumentParser:
    """The options that these experiments share."""
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the experiment")
    listed = " ".join(map(str, pairs))
    add("--pairs", type=int, nargs="+", default=list(pairs), metavar="N", help=f"numbers of pairs (default: {listed})")
    add("--seeds", type=int, default=3, help="seeds 0 ... N - 1 (default: %(default)s)")
    add("--steps", type=int, default=steps, help="steps of every generator (default: %(default)s)")
    add("--learning-rate", type=float, help="of all networks")
    add(
        "--objective",
        choices=GENERATOR_LOSSES,
        default=GENERATOR_LOSSES[0],
        help="of the generator (default: %(default)s)",
    )
    add("--threads", type=int, default=1, help="threads of the networks (default: %(default)s)")
    add("--max-minutes", type=float, default=math.inf, help="stop after so long; the same command goes on")
    add("--quiet", action="store_true", help="show nothing while training")
    return parser


def conclude(
    args: argparse.Namespace, experiment: Callable[[float], list[Row]], tables: Callable[[list[Row]], str]
) -> int:
    """Run an experiment, given when to stop (``time.monotonic``), and show its tables; returns the exit status."""
    torch.set_num_threads(args.threads)
    started = time.monotonic()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        rows = experiment(started + 60 * args.max_minutes)
        print(tables(rows) if rows else "no run is done yet")
    except (OSError, StemfeaturesError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if time.monotonic() > started + 60 * args.max_minutes:
        print("the time was up: the same command goes on where runs are missing", file=sys.stderr)
    return 0


def show_terms(name: str, steps: int) -> Callable[[int, dict[str, float]], None]:
    """Prints a line every tenth of a run."""

    def show(step: int, means: dict[str, float]) -> None:
        if step * 10 % steps == 0:
            words = " ".join(f"{term} {value:.3f}" for term, value in means.items())
            print(f"{name}: step {step:,} of {steps:,}: {words}", file=sys.stderr, flush=True)

    return show
