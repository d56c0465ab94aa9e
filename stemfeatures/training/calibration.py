"""Two numbers that a finished joint network is set by: how sharp its masks are, and when the voice counts as voiced.

Trained on one kind of music, a network is surer of itself than it is right on another. *Sharpness* multiplies the
stem logits of the masks that are given out (below 1: softer masks; pitch and rhythm are read from the masks as they
were learned), the *voicing offset* is added to the logit of the vocals' voicing (below 0: fewer voiced frames). Both
are written into the checkpoint, which is used like any other. They are chosen on development songs, whose figures are
then a little flattering; the card says so.

    python -m stemfeatures.training.calibration runs/joint-v1/joint-v1.safetensors DEVELOPMENT_SONGS
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..constants import PITCHED_STEMS
from ..evaluation import CheckpointEstimator, evaluate
from ..models import checkpoints
from ..models.joint import JointNet
from .one_line import one_line_errors

#: What is tried. 1 and 0 leave the network as it is.
SHARPNESS = (1.0, 0.85, 0.7, 0.6, 0.5)
VOICING_OFFSETS = (0.0, -0.3, -0.6, -0.9, -1.2)


@dataclass(frozen=True)
class Calibration:
    """What was chosen, and the scores of all candidates: mean over data sets (and stems) of SDR in dB, and of overall
    accuracy."""

    sharpness: float
    voicing_offset: float
    sdr_db: dict[str, float]
    overall_accuracy: dict[str, float]


@torch.no_grad()
def adjusted(model: JointNet, *, sharpness: float = 1.0, voicing_offset: float = 0.0) -> JointNet:
    """A copy of ``model`` with both numbers in it.

    Raises
    ------
    ValueError
        When ``sharpness`` is not positive.
    """
    if not sharpness > 0:
        raise ValueError(f"sharpness must be positive, not {sharpness}")
    model = copy.deepcopy(model)
    model.config = replace(model.config, sharpness=sharpness * model.config.sharpness)
    voicing = model.pitch[PITCHED_STEMS.index("vocals")].get_submodule("voicing")
    last = max(int(name) for name, _ in voicing.named_children())
    voicing.get_parameter(f"{last}.bias").add_(voicing_offset)
    return model


def calibrate(
    model: JointNet,
    songs: str | Path,
    *,
    sharpness: Sequence[float] = SHARPNESS,
    voicing_offsets: Sequence[float] = VOICING_OFFSETS,
    device: str = "cpu",
    limit: int | None = None,
    on_score: Callable[[str, float, float], None] | None = None,
) -> tuple[JointNet, Calibration]:
    """Choose the sharpness by SDR, the voicing offset by the overall accuracy of the F0.

    Parameters
    ----------
    songs : str | Path
        Folder of tracks with truth for separation and vocal F0, at most ``limit`` of a data set.
    on_score : Callable[[str, float, float], None], optional
        Called with what is tried, its value and its score.

    Notes
    -----
    Raises as :func:`stemfeatures.evaluation.evaluate`.
    """

    def score(task: str, metric: str, candidate: JointNet) -> float:
        with tempfile.TemporaryDirectory() as folder:
            saved = checkpoints.save(candidate, Path(folder) / "now.safetensors", {})
            summary = evaluate(task, songs, CheckpointEstimator(str(saved.path), device=device), limit=limit).summary()
        rows = summary[(summary["metric"] == metric) & (summary["n"] > 0)]
        return float(rows.groupby("dataset")["mean"].mean().mean())

    scores: dict[str, dict[float, float]] = {"sharpness": {}, "voicing offset": {}}

    def best(name: str, task: str, metric: str, candidates: dict[float, JointNet]) -> float:
        for value, candidate in candidates.items():
            scores[name][value] = score(task, metric, candidate)
            if on_score is not None:
                on_score(name, value, scores[name][value])
        return max(scores[name], key=lambda value: scores[name][value])

    # Pitch is read from the masks as they were learned: what is chosen first changes nothing in the second.
    chosen = best("sharpness", "separation", "sdr_db", {value: adjusted(model, sharpness=value) for value in sharpness})
    offset = best(
        "voicing offset",
        "f0",
        "overall_accuracy",
        {value: adjusted(model, voicing_offset=value) for value in voicing_offsets},
    )
    sdr_db, accuracy = ({f"{k:g}": round(v, 4) for k, v in found.items()} for found in scores.values())
    return adjusted(model, sharpness=chosen, voicing_offset=offset), Calibration(chosen, offset, sdr_db, accuracy)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a joint checkpoint; it is replaced, and kept as *.uncalibrated.safetensors")
    parser.add_argument("songs", type=Path, help="development songs, as for `stemfeatures evaluate`")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many tracks of a data set")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        _replace(parser, args)


def _replace(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Calibrate the checkpoint and write it in place of itself."""
    checkpoint = checkpoints.resolve(args.checkpoint)
    if checkpoint.is_shipped:
        parser.error(f"{checkpoint.path} is of the package, and would be replaced; copy it and its card first")
    if "calibration" in checkpoint.card.get("training", {}):
        parser.error(f"{checkpoint.path} is calibrated already")
    model = checkpoints.load(checkpoint, device=args.device)
    model, found = calibrate(
        model,
        args.songs,
        device=args.device,
        limit=args.limit,
        on_score=lambda name, value, score: print(f"{name} {value:g}: {score:.4f}", flush=True),
    )
    card = copy.deepcopy(checkpoint.card)
    card.setdefault("training", {})["calibration"] = {"chosen_on": args.songs.name, **asdict(found)}
    card["metrics"] = {}  # those of the weights before
    shutil.copyfile(checkpoint.path, checkpoint.path.with_suffix(".uncalibrated.safetensors"))
    saved = checkpoints.save(model, checkpoint.path, card)
    print(
        f"sharpness {found.sharpness:g}, voicing offset {found.voicing_offset:g}: {saved.path}, sha256 {saved.sha256}"
    )


if __name__ == "__main__":
    main()
