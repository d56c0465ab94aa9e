"""Pairs of digits from few pairs and many single digits: FactorGAN against a GAN.

After Stoller, Ewert and Dixon (ICLR 2020): dense networks make two digits that are of one class with probability
lambda. ``GAN`` learns from the pairs alone; ``FactorGAN`` learns what digits look like from all of them, and from the
pairs what belongs together; ``FactorGAN-no-cp`` has no pairs at all. Steps of the generator, batches and sizes of the
networks are the same.

Called again, the command goes on where it was stopped. It writes ``scores.csv`` (a row a run and seed), ``table.csv``,
``table.md`` and ``samples.png``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.gans.digit_pairs import N_PIXELS, SIDE, Classifier, Digits, load_digits, score_pairs, train_classifier
from experiments.gans.gan_runs import (
    GanRun,
    Row,
    Shown,
    adversary_of,
    conclude,
    draw_strips,
    experiment_parser,
    open_run,
    show_terms,
    store_scores,
    write_tables,
)
from experiments.gans.stacked import StackedMlp
from stemfeatures.factorgan import FactorGAN, Group, Joint, Variable

METHODS = ("GAN", "FactorGAN", "FactorGAN-no-cp")
METRICS = (
    Shown("fid", "Frechet distance of single digits, lower is better", 2),
    Shown("dependency", "Dependency score, lower is better", 3),
)
#: Two digits of 8x8 pixels lie nearer each other than of 28x28, and a network that stretches no distance cannot tell
#: apart what is near: discriminators see images so much stronger that distances are those of the paper's images.
CONTRAST = 28 / SIDE
PARTITION = Group("pair", (Variable("first"), Variable("second")))


@dataclass(frozen=True)
class Setting:
    """What all runs share. The paper's widths are 128 (for 784 pixels), its steps 200,000, its rate is 1e-4."""

    dependences: tuple[float, ...] = (0.1, 0.9)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 6000
    width: int = 64
    noise: int = 50
    batch_size: int = 25
    rounds: int = 2
    learning_rate: float = 2e-3
    objective: str = "JSD"
    n_scored: int = 5000


class Sources:
    """Batches of a stack of runs, one for every number of pairs, dependence and seed: shapes ``(batch, stack, 64)``.

    One shuffle has to fit all. The number of a pair is that of a common draw modulo the number of pairs, so that
    pairs that differ for the smallest number, of which all others are multiples, differ for all.
    """

    def __init__(self, digits: Digits, pairs: Sequence[int], setting: Setting) -> None:
        self.digits, self.setting = digits, setting
        each = [(dependence, seed) for dependence in setting.dependences for seed in setting.seeds]
        self.stack = [(n, dependence, seed) for n in pairs or [0] for dependence, seed in each]
        #: (n, 2, len(each), 64) for each number n of pairs
        self.pairs = [torch.stack([digits.pairs(n, *one)[0] for one in each], dim=2) for n in pairs]

    def pair(self) -> Joint:
        """Real pairs, labelled by their number: with few of them, a batch holds some twice."""
        rows = torch.randint(2**40, (self.setting.batch_size,))
        drawn = torch.cat([pairs[rows % len(pairs)] for pairs in self.pairs], dim=2)
        labels = rows % min(len(pairs) for pairs in self.pairs)
        return Joint({"first": drawn[:, 0], "second": drawn[:, 1]}, labels)

    def single(self, name: str) -> Callable[[], Joint]:
        """Real digits for one place."""

        def draw() -> Joint:
            rows = torch.randint(len(self.digits.images), (self.setting.batch_size, len(self.stack)))
            return Joint({name: self.digits.images[rows]})

        return draw

    def noise(self, n: int) -> Tensor:
        return 2 * torch.rand(n, len(self.stack), self.setting.noise) - 1


def discriminators(method: str, setting: Setting, stack: int) -> FactorGAN:
    """Dense networks, all with spectral norm."""

    def net(n_variables: int) -> nn.Module:
        widths = (n_variables * N_PIXELS, setting.width, setting.width, 1)
        return nn.Sequential(Contrast(), StackedMlp(stack, widths, normalised=True))

    if method == "GAN":
        return FactorGAN(PARTITION, marginals={"pair": net(2)}, combine=_side_by_side)
    return FactorGAN(
        PARTITION,
        marginals={variable.name: net(1) for variable in PARTITION.leaves},
        real_dependencies={} if method == "FactorGAN-no-cp" else {"pair": net(2)},
        generated_dependencies={"pair": net(2)},
        combine=_side_by_side,
    )


def _side_by_side(values: list[Tensor]) -> Tensor:
    return torch.cat(values, dim=-1)


class Contrast(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return CONTRAST * images


def begin(method: str, digits: Digits, pairs: Sequence[int], setting: Setting, folder: Path) -> tuple[GanRun, Sources]:
    """Networks and sources of the runs of one method, all in one stack; no ``pairs`` for ``FactorGAN-no-cp``."""
    torch.manual_seed(METHODS.index(method))
    sources = Sources(digits, pairs, setting)
    stack = len(sources.stack)
    generator = StackedMlp(stack, (setting.noise, setting.width, setting.width, 2 * N_PIXELS))
    game = discriminators(method, setting, stack)

    def generated() -> Joint:
        first, second = make(generator, sources.noise(setting.batch_size)).unbind(1)
        return Joint({"first": first, "second": second})

    real = {name: sources.pair if name == "pair" else sources.single(name) for name in game.sources}
    adversary = adversary_of(generator, game, setting)
    return GanRun(folder, generator, adversary, real, generated), sources


def make(generator: nn.Module, noise: Tensor) -> Tensor:
    """(batch, 2, stack, 64) images in 0..1 from noise (batch, stack, n)."""
    return torch.sigmoid(generator(noise)).unflatten(-1, (2, N_PIXELS)).transpose(1, 2)


def score_run(run: GanRun, sources: Sources, method: str, classifier: Classifier, held: Digits) -> list[Row]:
    """A row for every run of the stack."""
    setting = sources.setting
    run.generator.eval()
    with torch.no_grad():
        made = make(run.generator, sources.noise(setting.n_scored))
    seconds = run.seconds / len(sources.stack)
    return [
        {"lambda": dependence, "seed": seed, "method": method, "pairs": n, "seconds": seconds}
        | score_pairs(made[:, :, i], classifier, held, sources.digits.dependency(dependence))
        for i, (n, dependence, seed) in enumerate(sources.stack)
    ]


def score_real(setting: Setting, digits: Digits, classifier: Classifier, held: Digits) -> list[Row]:
    """What real pairs of the images that are learned from are scored: nothing to be learned is better."""
    rows: list[Row] = []
    for dependence in setting.dependences:
        for seed in setting.seeds:
            pairs, _ = digits.pairs(setting.n_scored, dependence, 10_000 + seed)
            scores = score_pairs(pairs, classifier, held, digits.dependency(dependence))
            rows.append(
                {"lambda": dependence, "seed": seed, "method": "real pairs", "pairs": 0, "seconds": 0.0} | scores
            )
    return rows


def experiment(out: Path, pairs: Sequence[int], setting: Setting, *, stop_at: float, quiet: bool = False) -> list[Row]:
    """All runs that are not done yet; the scores of those that are, with those of real pairs.

    Raises
    ------
    ModelError : ``out`` holds runs of another setting.
    """
    digits, held = load_digits()
    classifier = train_classifier(digits)
    rows = score_real(setting, digits, classifier, held)
    strips = {"real": strip_of(digits.pairs(12, max(setting.dependences), 99)[0])}
    for method in METHODS:
        folder, given = out / method, [] if method == "FactorGAN-no-cp" else list(pairs)
        scores = open_run(folder, {"method": method, "pairs": given, **asdict(setting)})
        run, sources = begin(method, digits, given, setting, folder)
        show = None if quiet else show_terms(method, setting.steps)
        if not run.train(setting.steps, stop_at=stop_at, on_log=show):
            return rows
        if scores is None:
            scores = score_run(run, sources, method, classifier, held)
            store_scores(folder, scores)
        rows += scores
        torch.manual_seed(0)
        with torch.no_grad():
            made = make(run.generator.eval(), sources.noise(12))
        for n in given or [0]:
            one = sources.stack.index((n, max(setting.dependences), setting.seeds[0]))
            strips[f"{method}, {n} pairs"] = strip_of(made[:, :, one])
    draw_strips(strips, out / "samples.png", height=1.2, cmap="gray_r", vmin=0, vmax=1)
    return rows


def strip_of(pairs: Tensor) -> np.ndarray:
    """Pairs (n, 2, 64) beside each other, the first digit above the second."""
    columns = [torch.cat([nn.functional.pad(digit.view(SIDE, SIDE), (1, 1, 1, 1)) for digit in pair]) for pair in pairs]
    return torch.cat(columns, dim=1).numpy()


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment_parser("paired_digits", __doc__, pairs=(20, 100, 1000), steps=Setting.steps)
    parser.add_argument(
        "--dependence", type=float, nargs="+", default=[0.1, 0.9], help="lambda, 0 to 1 (default 0.1 0.9)"
    )
    args = parser.parse_args(argv)
    if min(args.pairs) < 2 or args.seeds < 1 or args.steps < 1 or not all(0 <= x <= 1 for x in args.dependence):
        parser.error("--pairs starts at 2, --seeds and --steps at 1; --dependence lies within 0 and 1")
    if any(n % min(args.pairs) for n in args.pairs):
        parser.error("every number of --pairs must be a multiple of the smallest")
    setting = Setting(
        dependences=tuple(args.dependence), seeds=tuple(range(args.seeds)), steps=args.steps,
        learning_rate=args.learning_rate or Setting.learning_rate, objective=args.objective,
    )  # fmt: skip
    return conclude(
        args,
        lambda stop_at: experiment(args.out, args.pairs, setting, stop_at=stop_at, quiet=args.quiet),
        lambda rows: write_tables(args.out, rows, METRICS, across="pairs", by=["lambda"]),
    )


if __name__ == "__main__":
    sys.exit(main())
