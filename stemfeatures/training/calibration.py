"""Numbers that a finished joint network is set by: how sharp its masks are, how far they lean towards stems that are
loud in the long run, towards partials of the pitch, towards what is struck and towards what sounds alike, how far and
in which bins they are refined, how far they lean towards *other* in the lows, and when the voice counts as voiced.

Trained on one kind of music, a network is surer of itself than it is right on another. *Sharpness* multiplies the
stem logits of the masks that are given out (below 1: softer masks; pitch and rhythm are read from masks of sharpness 1,
which of all priors only the *similarity prior* moves, and that for pitch alone), the *level prior* is the exponent of
:func:`stemfeatures.models.level_prior.weighed`, the *harmonic priors* of vocals and bass are the strengths of
:func:`stemfeatures.models.harmonic_prior.leaning`, the *transient prior* is that of
:func:`stemfeatures.models.transient_prior.leaning`, the *similarity prior* that of
:func:`stemfeatures.models.similarity_prior.leaning`, the *refinement* is a factor on what a refiner adds to the logits
of the masks, in its lowest *refined bins*, the *low prior* is the strength of
:func:`stemfeatures.models.low_prior.leaning`, and the *voicing offset* is added to the logit of the vocals' voicing
(below 0: fewer voiced frames). All are written into the checkpoint, which is used like any other. Figures of the songs
that they are chosen on flatter a little; the card names them.

    python -m stemfeatures.training.calibration runs/joint-v1/joint-v1.safetensors DEVELOPMENT_SONGS
    python -m stemfeatures.training.calibration joint-v8.safetensors DEVELOPMENT_SONGS --again --low-priors 0 0.7 0.9

``--again`` keeps what a calibrated checkpoint has, and chooses what is given anew.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from ..constants import PITCHED_STEMS
from ..evaluation import CheckpointEstimator, evaluate
from ..models import checkpoints
from ..models.joint import CALIBRATED, JointConfig, JointNet
from .one_line import one_line_errors

#: What is tried. 1 and 0 leave the network as it is.
SHARPNESS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4)
LEVEL_PRIORS = (0.0, 0.15, 0.3, 0.45)
#: Stronger ones rely too much on a pitch that is wrong in a sixth of the frames of recordings.
VOCALS_PRIORS, BASS_PRIORS = (0.0, 1.0, 2.0), (0.0, 0.5, 1.0)
TRANSIENT_PRIORS = (0.0, 0.1, 0.2, 0.3)
SIMILARITY_PRIORS = (0.0, 0.2, 0.4, 0.6, 0.8)
LOW_PRIORS = (0.0, 0.4, 0.7, 0.9)
VOICING_OFFSETS = (0.0, -0.3, -0.6, -0.9, -1.2)
#: Of networks that have a refiner.
REFINEMENTS = (0.5, 0.7, 0.85, 1.0)

_Values = tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """What was chosen, and the scores of all candidates by what was tried: mean over data sets (and stems) of SDR in
    dB, and of overall accuracy."""

    sharpness: float
    level_prior: float
    harmonic_priors: tuple[float, ...]
    transient_prior: float
    similarity_prior: float
    low_prior: float
    refinement: float
    refined_bins: int | None
    voicing_offset: float
    sdr_db: dict[str, dict[str, float]]
    overall_accuracy: dict[str, float]


@torch.no_grad()
def adjusted(
    model: JointNet,
    *,
    voicing_offset: float = 0.0,
    refinement: float = 1.0,
    refined_bins: int | None = None,
    **values: Any,
) -> JointNet:
    """A copy of ``model`` with these numbers in it; its own where none is given.

    Parameters
    ----------
    voicing_offset : float, default=0.0
        Is added to the logit of the vocals' voicing.
    refinement : float, default=1.0
        Multiplies what the refiner adds to the logits of the masks; no matter without one.
    refined_bins : int, optional
        Lowest bins that the refiner still sees and refines.
    **values
        Of :data:`~stemfeatures.models.joint.CALIBRATED`.

    Raises
    ------
    ValueError
        When ``sharpness`` is not positive, a prior or ``refinement`` is negative, or the network has no refiner of so
        many bins.
    """
    config = replace(model.config, **values)
    if not config.sharpness > 0:
        raise ValueError(f"sharpness must be positive, not {config.sharpness}")
    priors = [
        (name, getattr(config, name)) for name in ("level_prior", "transient_prior", "similarity_prior", "low_prior")
    ]
    for name, value in priors + [("harmonic_priors", value) for value in config.harmonic_priors]:
        if not value >= 0:
            raise ValueError(f"{name} cannot be negative, but is {value}")
    if not refinement >= 0:
        raise ValueError(f"refinement cannot be negative, but is {refinement}")
    model = copy.deepcopy(model)
    if refined_bins is not None:
        if model.refiner is None:
            raise ValueError(f"a network without a refiner refines no {refined_bins} bins")
        model.refiner, config = model.refiner.of_lowest(refined_bins), replace(config, refined_bins=refined_bins)
    model.config = config
    voicing = model.pitch[PITCHED_STEMS.index("vocals")].get_submodule("voicing")
    last = max(int(name) for name, _ in voicing.named_children())
    voicing.get_parameter(f"{last}.bias").add_(voicing_offset)
    if model.refiner is not None:
        for parameter in model.refiner.leave.parameters():
            parameter.mul_(refinement)
    return model


def calibrate(
    model: JointNet,
    songs: str | Path,
    *,
    sharpness: Sequence[float] | None = None,
    level_priors: Sequence[float] | None = None,
    vocals_priors: Sequence[float] | None = None,
    bass_priors: Sequence[float] | None = None,
    transient_priors: Sequence[float] | None = None,
    similarity_priors: Sequence[float] | None = None,
    low_priors: Sequence[float] | None = None,
    refinements: Sequence[float] = REFINEMENTS,
    voicing_offsets: Sequence[float] = VOICING_OFFSETS,
    refined_bins: int | None = None,
    device: str = "cpu",
    limit: int | None = None,
    on_score: Callable[[str, str, float], None] | None = None,
) -> tuple[JointNet, Calibration]:
    """Choose what masks are set by through SDR, the voicing offset through the overall accuracy of the F0.

    The voicing offset is chosen first, with the masks of ``model``; then sharpness and level prior together, without
    the other priors; then, one after the other, the harmonic priors of vocals and bass together, the transient prior,
    the similarity prior, of a network with a refiner the refinement, and the low prior.

    Of sharpness and priors that are not given :data:`SHARPNESS`, :data:`LEVEL_PRIORS` and so on are tried; of a network
    with a refiner its own alone, as it learned behind them.

    Parameters
    ----------
    songs : str | Path
        Folder of tracks with truth for separation and vocal F0, at most ``limit`` of a data set.
    refined_bins : int | None, optional
        Lowest bins that the refiner sees and refines, for everything that is tried; as many as it learned by default.
    on_score : Callable[[str, str, float], None], optional
        Called with what is tried, its value or values and its score.

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

    scores: dict[str, dict[str, float]] = {}
    model = adjusted(model, refined_bins=refined_bins)
    own, learned = model.config, model.refiner is not None

    def tried(given: Sequence[float] | None, usual: Sequence[float], of_network: float) -> Sequence[float]:
        return given if given is not None else (of_network,) if learned else usual

    sharpness = tried(sharpness, SHARPNESS, own.sharpness)
    level_priors = tried(level_priors, LEVEL_PRIORS, own.level_prior)
    vocals_priors = tried(vocals_priors, VOCALS_PRIORS, own.harmonic_priors[0])
    bass_priors = tried(bass_priors, BASS_PRIORS, own.harmonic_priors[1])
    transient_priors = tried(transient_priors, TRANSIENT_PRIORS, own.transient_prior)
    similarity_priors = tried(similarity_priors, SIMILARITY_PRIORS, own.similarity_prior)
    low_priors = tried(low_priors, LOW_PRIORS, own.low_prior)

    def best(name: str, task: str, metric: str, candidates: dict[_Values, JointNet]) -> _Values:
        scores[name], found = {}, {}
        for values, candidate in candidates.items():
            found[values], told = score(task, metric, candidate), _told(values)
            scores[name][told] = round(found[values], 4)
            if on_score is not None:
                on_score(name, told, found[values])
        return max(found, key=lambda values: found[values])

    # Pitch is read from the masks as they were learned, so what is chosen for masks does not change it, but for the
    # similarity prior, which makes voicing a little surer; they lean by how sure the voicing is.
    voicing: dict[_Values, JointNet] = {(value,): adjusted(model, voicing_offset=value) for value in voicing_offsets}
    voiced = best("voicing offset", "f0", "overall_accuracy", voicing)
    accuracy, masked = scores.pop("voicing offset"), partial(best, task="separation", metric="sdr_db")
    without: dict[str, Any] = {
        "harmonic_priors": (0.0,) * len(PITCHED_STEMS),
        "transient_prior": 0.0,
        "similarity_prior": 0.0,
        "low_prior": 0.0,
    }
    start = adjusted(voicing[voiced], **without)
    pairs = product(sharpness, level_priors)
    candidates: dict[_Values, JointNet] = {
        pair: adjusted(start, sharpness=pair[0], level_prior=pair[1]) for pair in pairs
    }
    chosen = candidates[masked("sharpness and level prior", candidates=candidates)]
    pairs = product(vocals_priors, bass_priors)
    candidates = {pair: adjusted(chosen, harmonic_priors=pair) for pair in pairs}
    chosen = candidates[masked("harmonic priors", candidates=candidates)]
    candidates = {(value,): adjusted(chosen, transient_prior=value) for value in transient_priors}
    chosen = candidates[masked("transient prior", candidates=candidates)]
    candidates = {(value,): adjusted(chosen, similarity_prior=value) for value in similarity_priors}
    chosen = candidates[masked("similarity prior", candidates=candidates)]
    refinement = 1.0
    if chosen.refiner is not None:
        candidates = {(value,): adjusted(chosen, refinement=value) for value in refinements}
        (refinement,) = masked("refinement", candidates=candidates)
        chosen = candidates[refinement,]
    candidates = {(value,): adjusted(chosen, low_prior=value) for value in low_priors}
    chosen = candidates[masked("low prior", candidates=candidates)]
    values = {name: getattr(chosen.config, name) for name in CALIBRATED}
    return chosen, Calibration(
        **values,
        refinement=refinement,
        refined_bins=None if chosen.refiner is None else chosen.refiner.n_bins,
        voicing_offset=voiced[0],
        sdr_db=scores,
        overall_accuracy=accuracy,
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told = (
        "a joint checkpoint; it is replaced, and kept as *.uncalibrated.safetensors (with --again *.before.safetensors)"
    )
    parser.add_argument("checkpoint", help=told)
    parser.add_argument("songs", type=Path, help="development songs, as for `stemfeatures evaluate`")
    for option, values in (
        ("--sharpness", SHARPNESS), ("--level-priors", LEVEL_PRIORS), ("--vocals-priors", VOCALS_PRIORS),
        ("--bass-priors", BASS_PRIORS), ("--transient-priors", TRANSIENT_PRIORS),
        ("--similarity-priors", SIMILARITY_PRIORS), ("--low-priors", LOW_PRIORS)
    ):  # fmt: skip
        told = f"what is tried (default: {_told(values)}; of a network with a refiner its own)"
        parser.add_argument(option, nargs="+", type=float, metavar="X", help=told)
    for option, values in (("--refinements", REFINEMENTS), ("--voicing-offsets", VOICING_OFFSETS)):
        told = f"what is tried (default: {_told(values)}; with --again none)"
        parser.add_argument(option, nargs="+", type=float, metavar="X", help=told)
    told = "lowest bins that the refiner is to see and refine, a multiple of 4 (default: those that it learned)"
    parser.add_argument("--refined-bins", type=int, metavar="N", help=told)
    told = "the checkpoint is calibrated already: keep what it has of whatever is not given"
    parser.add_argument("--again", action="store_true", help=told)
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many tracks of a data set")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        _replace(parser, args)


def _told(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _require_possible(parser: argparse.ArgumentParser, model: JointNet, args: argparse.Namespace) -> None:
    """End with a line on the first value that the network cannot have: the last ones are tried after hours."""
    tried = {
        "refined_bins": [args.refined_bins],
        "sharpness": args.sharpness,
        "level_prior": args.level_priors,
        "harmonic_priors": [(value, value) for value in [*(args.vocals_priors or ()), *(args.bass_priors or ())]],
        "transient_prior": args.transient_priors,
        "similarity_prior": args.similarity_priors,
        "low_prior": args.low_priors,
        "refinement": args.refinements,
    }
    try:
        for name, values in tried.items():
            for value in values or ():
                adjusted(model, **{name: value})
    except ValueError as error:
        parser.error(str(error))


def _fill(args: argparse.Namespace, own: JointConfig | None) -> None:
    """What is tried where nothing was given: what a calibrated network has, or of the last two the usual values."""
    if own is not None:
        vocals, bass = own.harmonic_priors
        kept = {
            "sharpness": own.sharpness, "level_priors": own.level_prior, "vocals_priors": vocals, "bass_priors": bass,
            "transient_priors": own.transient_prior, "similarity_priors": own.similarity_prior,
            "low_priors": own.low_prior,
        }  # fmt: skip
        for name, value in kept.items():
            setattr(args, name, getattr(args, name) or [value])
    args.refinements = args.refinements or (REFINEMENTS if own is None else [1.0])
    args.voicing_offsets = args.voicing_offsets or (VOICING_OFFSETS if own is None else [0.0])


def _replace(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Calibrate the checkpoint and write it in place of itself."""
    checkpoint = checkpoints.resolve(args.checkpoint)
    if checkpoint.is_shipped:
        parser.error(f"{checkpoint.path} is of the package, and would be replaced; copy it and its card first")
    if "through" not in checkpoint.card.get("training", {}).get("calibration", {"through": ""}) and not args.again:
        parser.error(f"{checkpoint.path} is calibrated already (--again: choose anew what is given)")
    model = checkpoints.load(checkpoint, device=args.device)
    _fill(args, model.config if args.again else None)
    _require_possible(parser, model, args)
    model, found = calibrate(
        model,
        args.songs,
        sharpness=args.sharpness,
        level_priors=args.level_priors,
        vocals_priors=args.vocals_priors,
        bass_priors=args.bass_priors,
        transient_priors=args.transient_priors,
        similarity_priors=args.similarity_priors,
        low_priors=args.low_priors,
        refinements=args.refinements,
        voicing_offsets=args.voicing_offsets,
        refined_bins=args.refined_bins,
        device=args.device,
        limit=args.limit,
        on_score=lambda name, values, score: print(f"{name} {values}: {score:.4f}", flush=True),
    )
    card = copy.deepcopy(checkpoint.card)
    training = card.setdefault("training", {})
    before = {"before": training["calibration"]} if "calibration" in training else {}
    training["calibration"] = {"chosen_on": args.songs.name, **asdict(found), **before}
    card["metrics"] = {}  # those of the weights before
    kept = ".before.safetensors" if args.again else ".uncalibrated.safetensors"  # the latter may be there already
    shutil.copyfile(checkpoint.path, checkpoint.path.with_suffix(kept))
    saved = checkpoints.save(model, checkpoint.path, card)
    harmonic = " and ".join(f"{value:g}" for value in found.harmonic_priors)
    chosen = f"sharpness {found.sharpness:g}, level prior {found.level_prior:g}, harmonic priors {harmonic}, "
    chosen += f"transient prior {found.transient_prior:g}, similarity prior {found.similarity_prior:g}, "
    if found.refined_bins is not None:
        chosen += f"refinement {found.refinement:g} of {found.refined_bins} bins, "
    chosen += f"low prior {found.low_prior:g}, "
    chosen += f"voicing offset {found.voicing_offset:g}"
    print(f"{chosen}: {saved.path}, sha256 {saved.sha256}")


if __name__ == "__main__":
    main()
