"""What is in each pixel, learned from few labelled images: a conditional FactorGAN against a conditional GAN.

After the Cityscapes experiment of Stoller, Ewert and Dixon (ICLR 2020), on images of :mod:`.shape_images`. The
generator makes labels of an image. ``GAN`` tells pairs of image and labels from generated ones and sees the labelled
images alone; ``FactorGAN`` also learns from images without labels (they are given, so that their marginal drops out)
and from labels without images. No loss compares with the right labels. Steps of the generator, batches and networks are
the same.

Called again, the command goes on where it was stopped. It writes ``scores.csv`` (a row a run), ``table.csv``,
``table.md`` and ``samples.png``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from experiments.gans.shape_images import CLASSES, draw_images, score_masks
from stemfeatures.factorgan import FactorGAN, Group, Joint, Variable, spectrally_normalised

METHODS = ("GAN", "FactorGAN")
METRICS = (Shown("accuracy", "Pixel accuracy in %, higher is better", 1), Shown("mse", "MSE, lower is better", 4))
PARTITION = Group("pair", (Variable("image", given=True), Variable("labels")))


@dataclass(frozen=True)
class Setting:
    """What all runs share; ``n_images`` and as many labels are unpaired."""

    steps: int = 500
    width: int = 8
    batch_size: int = 25
    rounds: int = 2
    learning_rate: float = 1e-3
    objective: str = "JSD"
    n_images: int = 2000
    n_scored: int = 500


class Labeller(nn.Module):
    """Images and a channel of noise at a quarter of their size -> labels that sum to one in every pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.middle = nn.Conv2d(2 * width + 1, 2 * width, 3, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.out = nn.Conv2d(2 * width, len(CLASSES), 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        seen = F.leaky_relu(self.seen(images), 0.2)
        low = F.leaky_relu(self.down(seen), 0.2)
        noise = 2 * torch.rand_like(low[:, :1]) - 1
        low = F.leaky_relu(self.middle(torch.cat([low, noise], dim=1)), 0.2)
        high = F.leaky_relu(self.up(low), 0.2)
        return self.out(torch.cat([seen, high], dim=1)).softmax(dim=1)


def discriminator(channels: int, width: int) -> nn.Module:
    """Three 4x4 convolutions of stride 2, a number."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * width, 1, bias=False))


def begin(method: str, n_pairs: int, seed: int, setting: Setting, folder: Path) -> GanRun:
    """Networks and sources of a run: the first ``n_pairs`` images are labelled."""
    torch.manual_seed(seed)
    images, labels = draw_images(setting.n_images, 1000 + seed)
    _, other_labels = draw_images(setting.n_images, 2000 + seed)
    generator = Labeller(setting.width)
    channels = {"labels": len(CLASSES), "pair": 1 + len(CLASSES)}

    def take(*tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
        rows = torch.randint(len(tensors[0]), (setting.batch_size,))
        return rows, [tensor[rows] for tensor in tensors]

    def pairs() -> Joint:
        rows, (image, label) = take(images[:n_pairs], labels[:n_pairs])
        return Joint({"image": image, "labels": label}, labels=rows)

    def only_labels() -> Joint:
        return Joint({"labels": take(torch.cat([labels[:n_pairs], other_labels]))[1][0]})

    def generated_from(given: Tensor) -> Callable[[], Joint]:
        def draw() -> Joint:
            _, (image,) = take(given)
            return Joint({"image": image, "labels": generator(image)})

        return draw

    if method == "GAN":
        whole = spectrally_normalised(discriminator(channels["pair"], setting.width))
        game = FactorGAN(PARTITION, marginals={"pair": whole})
        real, generated = {"pair": pairs}, generated_from(images[:n_pairs])
    else:
        game = FactorGAN.build(
            PARTITION,
            lambda node: discriminator(channels[node.name], setting.width),
            lambda group: discriminator(channels[group.name], setting.width),
        )
        real, generated = {"labels": only_labels, "pair": pairs}, generated_from(images)
    adversary = adversary_of(generator, game, setting)
    return GanRun(folder, generator, adversary, real, generated)


def experiment(
    out: Path, pairs: Sequence[int], seeds: Sequence[int], setting: Setting, *, stop_at: float, quiet: bool = False
) -> list[Row]:
    """All runs that are not done yet, seed after seed; the scores of those that are.

    Raises
    ------
    ModelError : ``out`` holds runs of another setting.
    """
    rows: list[Row] = []
    images, labels = draw_images(setting.n_scored, 1)
    shown = images[:8]
    strips = {"image": strip_of(shown.expand(-1, 3, -1, -1) / 2 + 0.5), "labels": strip_of(labels[:8])}
    for seed in seeds:
        for n_pairs in pairs:
            for method in METHODS:
                folder = out / f"{method}-{n_pairs}-{seed}"
                scores = open_run(folder, {"method": method, "pairs": n_pairs, "seed": seed, **asdict(setting)})
                run = begin(method, n_pairs, seed, setting, folder)
                show = None if quiet else show_terms(folder.name, setting.steps)
                if not run.train(setting.steps, stop_at=stop_at, on_log=show):
                    return rows
                torch.manual_seed(seed)
                with torch.no_grad():
                    found = run.generator.eval()(images)
                if seed == seeds[0]:
                    strips[f"{method}, {n_pairs} pairs"] = strip_of(found[:8])
                if scores is None:
                    named = {"method": method, "pairs": n_pairs, "seed": seed, "seconds": run.seconds}
                    scores = [named | score_masks(found, labels)]
                    store_scores(folder, scores)
                rows += scores
    draw_strips(strips, out / "samples.png", height=1.0)
    return rows


def strip_of(images: Tensor) -> np.ndarray:
    """Images (n, 3, height, width) in 0..1 beside each other; classes are colours."""
    padded = F.pad(images, (1, 1, 1, 1), value=1.0)
    return torch.cat([*padded], dim=2).permute(1, 2, 0).clamp(0, 1).numpy()


def main(argv: Sequence[str] | None = None) -> int:
    parser = experiment_parser("paired_images", __doc__, pairs=(25, 100, 1000), steps=Setting.steps)
    args = parser.parse_args(argv)
    if min(args.pairs) < 2 or max(args.pairs) > Setting.n_images or args.seeds < 1 or args.steps < 1:
        parser.error(f"--pairs lies within 2 and {Setting.n_images}, --seeds and --steps start at 1")
    setting = Setting(
        steps=args.steps, learning_rate=args.learning_rate or Setting.learning_rate, objective=args.objective
    )
    return conclude(
        args,
        lambda stop_at: experiment(args.out, args.pairs, range(args.seeds), setting, stop_at=stop_at, quiet=args.quiet),
        lambda rows: write_tables(args.out, rows, METRICS, across="pairs"),
    )


if __name__ == "__main__":
    sys.exit(main())
