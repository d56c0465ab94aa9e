"""Fit what tells further voices among stretches of F0 candidates, to generated songs in which several voices sing.

    python -m stemfeatures.training.voices SONGS [SONGS ...] [--model CHECKPOINT]

analyses songs of ``stemfeatures generate`` with the network whose salience is to be read (the default one), fits the
logistic model that :mod:`stemfeatures.descriptors.voices` reads, chooses the probability from which on a stretch
counts, and writes both. Each song is judged by a model that has not seen it; the least probability is taken from which
on ``--precision`` (0.8) of the frames in which several voices are told have several voices. Run it again for another
network: its salience has other values.

    python -m stemfeatures.training.voices SONGS --excerpts 90 --instrumentals LEADS --precision 0.85

does the same for what the network of voices (:mod:`.several_voices`) hears, which a run with ``--further-voices`` asks,
on excerpts that are put together of the songs (:mod:`.data.choirs`). Of a frame, what is known of its stretch and how
sure the network is of several voices count as a second logistic model says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis import Analyser
from ..audio import load
from ..constants import ANALYSIS_SAMPLE_RATE, FRAME_RATE
from ..descriptors import voices
from ..descriptors.f0 import f0_contours
from ..descriptors.fitted import logistic, store_model
from ..descriptors.inputs import DescriptorInputs
from ..descriptors.voices import (
    ENOUGH_S,
    FURTHER_VOICES,
    LEAST_FRAMES,
    Stretches,
    VoiceModel,
    choose_voices,
    log_odds,
    to_midi,
    track_stretches,
)
from ..errors import DatasetError
from ..models import checkpoints
from .data.choirs import ChoirSource
from .data.heard_notes import true_voices
from .logistic import fit_logistic
from .notes import voice_counts
from .one_line import one_line_errors

FOLDER = Path(voices.__file__).parent
#: Semitones within which a pitch is that of a voice.
RIGHT = 0.5
#: Penalty on squared weights of scaled features; frames that count as one example, since those of a stretch are alike.
PENALTY, ALIKE = 3.0, 10.0
#: Songs are judged by models of this many parts of the others.
PARTS = 6
#: Of what is drawn for excerpts.
EXCERPTS_SEED = 7
#: Least frames that a threshold must let through to be chosen (2 s).
ENOUGH = round(2 * FRAME_RATE)


@dataclass(frozen=True)
class VoiceExample:
    """One song.

    Attributes
    ----------
    stretches : Stretches
        As they are found.
    right : np.ndarray
        (n_stretches,) candidates of each at which a voice sings that is not the contour's, while several sing.
    counts : np.ndarray
        (n_frames,) true number of voices.
    voiced : np.ndarray
        (n_frames,) bool, where the contour has a pitch.
    """

    stretches: Stretches
    right: np.ndarray
    counts: np.ndarray
    voiced: np.ndarray


def example(stretches: Stretches, f0_hz: np.ndarray, true_midi: np.ndarray) -> VoiceExample:
    """What is true of stretches.

    Parameters
    ----------
    stretches : Stretches
        Of a song.
    f0_hz : (n_frames,) ndarray
        Contour of its vocals, NaN where unvoiced.
    true_midi : (n_voices, n_frames) ndarray
        True pitches, NaN where a voice is silent.

    Returns
    -------
    VoiceExample
        Of the song.
    """
    counts, of = voice_counts(true_midi), stretches.frame
    with np.errstate(invalid="ignore"):
        there = np.abs(true_midi[:, of] - stretches.midi) <= RIGHT
        followed = np.abs(true_midi[:, of] - to_midi(f0_hz)[of]) <= RIGHT
    right = (there & ~followed).any(axis=0) & (counts[of] > 1)
    sums = np.bincount(stretches.owner, right, minlength=len(stretches.length))
    return VoiceExample(stretches, sums, counts, np.isfinite(f0_hz))


def fit_voices(songs: Sequence[VoiceExample]) -> VoiceModel:
    """The model under which what is right is likeliest; any probability counts."""
    features = np.concatenate([song.stretches.features for song in songs])
    length = np.concatenate([song.stretches.length for song in songs]).astype(float)
    right = np.concatenate([song.right for song in songs])
    long = length >= LEAST_FRAMES
    share, weight = (right / np.maximum(length, 1))[long], length[long] / ALIKE
    return VoiceModel(*fit_logistic(features[long], share, penalty=PENALTY, weight=weight), 0.0)


def surest(song: VoiceExample, model: VoiceModel) -> np.ndarray:
    """(n_frames,) probability of the likeliest stretch that may count, 0 where there is none."""
    stretches, best = song.stretches, np.zeros(len(song.counts))
    probability = model.probability(stretches.features)
    for k in np.flatnonzero(stretches.length >= LEAST_FRAMES):
        part = slice(int(stretches.first[k]), int(stretches.end[k]))
        best[part] = np.maximum(best[part], model.course(float(probability[k]), stretches.several, part))
    return np.where(song.voiced, best, 0.0)


def choose_least(probability: np.ndarray, several: np.ndarray, precision: float) -> float | None:
    """The least probability from which on frames have several voices at a precision.

    Parameters
    ----------
    probability : (n_frames,) ndarray
        Of :func:`surest`.
    several : (n_frames,) ndarray of bool
        Whether several voices sing.
    precision : float
        Wanted share of right ones among the frames from the threshold on, 0..1.

    Returns
    -------
    float or None
        None where no threshold with :data:`ENOUGH` frames has that precision.
    """
    falling = np.argsort(-probability, kind="stable")
    reached = np.cumsum(several[falling]) / np.arange(1, len(falling) + 1)
    # Frames of one probability come together.
    last = np.append(np.diff(probability[falling]) < 0, True)
    good = np.flatnonzero((reached >= precision) & last & (probability[falling] > 0))
    good = good[good + 1 >= ENOUGH]
    return float(probability[falling[good[-1]]]) if len(good) else None


def judged(songs: Sequence[VoiceExample]) -> list[np.ndarray]:
    """:func:`surest` of each song, by a model of the songs of the other parts."""
    parts = min(PARTS, len(songs))
    models = [fit_voices([song for k, song in enumerate(songs) if k % parts != part]) for part in range(parts)]
    return [surest(song, models[k % parts]) for k, song in enumerate(songs)]


def fit_frames(songs: Sequence[VoiceExample], probability: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """What the log-odds of a stretch, and those of several voices in a frame, count for in the frame, and a constant.

    Parameters
    ----------
    songs : Sequence[VoiceExample]
        As the network of voices heard them.
    probability : Sequence[np.ndarray]
        Of :func:`judged`.

    Returns
    -------
    tuple of float
        :attr:`stemfeatures.descriptors.voices.VoiceModel.frame`.
    """
    voiced = np.concatenate([song.voiced for song in songs])
    heard = np.concatenate([_several(song) for song in songs])[voiced]
    x = np.stack([log_odds(np.concatenate(list(probability))[voiced]), heard], axis=1)
    several = np.concatenate([song.counts > 1 for song in songs])[voiced].astype(float)
    (own, of_frame), bias = fit_logistic(x, several, penalty=PENALTY, weight=np.full(len(x), 1 / ALIKE))
    return round(float(own), 4), round(float(of_frame), 4), round(float(bias), 4)


def in_frames(
    songs: Sequence[VoiceExample], probability: Sequence[np.ndarray], frame: tuple[float, float, float]
) -> list[np.ndarray]:
    """(n_frames,) probability of each song as :func:`fit_frames` weighs it, 0 where no stretch is."""
    own, of_frame, bias = frame
    return [
        np.where(p > 0, logistic(own * log_odds(p) + of_frame * _several(song) + bias), 0.0)
        for song, p in zip(songs, probability)
    ]


def _several(song: VoiceExample) -> np.ndarray:
    assert song.stretches.several is not None
    return song.stretches.several


def scores(songs: Iterable[VoiceExample], model: VoiceModel) -> dict[str, float]:
    """How good a model with its threshold is.

    Parameters
    ----------
    songs : iterable of VoiceExample
        Songs.
    model : VoiceModel
        As it is used.

    Returns
    -------
    dict[str, float]
        Of the frames with several voices ``precision`` and ``recall``; ``pitch``, the share of the candidates told at
        which another voice sings; ``told``, the share of the frames; NaN where there are none.
    """
    told, true, right, n = [], [], 0.0, 0
    for song in songs:
        found = choose_voices(song.stretches, model)
        told.append(found.counts(song.voiced) > 1)
        true.append(song.counts > 1)
        stretch = np.unique(found.stretch)
        right += song.right[stretch].sum()
        n += int(song.stretches.length[stretch].sum())
    both, several = np.concatenate(told), np.concatenate(true)
    hits = int((both & several).sum())

    def share(part: float, of: float) -> float:
        return round(float(part / of), 4) if of else float("nan")

    return {
        "precision": share(hits, both.sum()),
        "recall": share(hits, several.sum()),
        "pitch": share(right, n),
        "told": share(both.sum(), len(both)),
    }


def hear_voices(folders: Iterable[Path], analyser: Analyser) -> list[VoiceExample]:
    """Examples of the generated songs of folders, in the order of their names.

    Parameters
    ----------
    folders : iterable of Path
        As ``stemfeatures generate`` wrote them.
    analyser : Analyser
        With the network whose salience is read.

    Returns
    -------
    list of VoiceExample
        Songs without a voice, too: what is taken for several voices there is wrong.

    Raises
    ------
    DatasetError
        A folder holds no generated songs.
    """
    found = []
    for folder in folders:
        truths = sorted(folder.glob("*/truth.json"))
        if not truths:
            raise DatasetError("no generated songs", source=str(folder), stage="train")
        for path in truths:
            y, rate = load(path.parent / "mixture.flac")
            inputs = DescriptorInputs(analyser.from_audio(y, rate).frames)
            truth = json.loads(path.read_text())
            f0_hz = inputs.get(f0_contours)[voices.VOCALS][0].f0_hz
            found.append(example(track_stretches(inputs), f0_hz, true_voices(truth, len(f0_hz))))
    return found


def hear_excerpts(source: ChoirSource, analyser: Analyser, n: int) -> list[VoiceExample]:
    """Examples of excerpts that are put together.

    Parameters
    ----------
    source : ChoirSource
        Where they are drawn from; those of a number are the same.
    analyser : Analyser
        One that asks the network of voices.
    n : int
        How many.

    Returns
    -------
    list of VoiceExample
        One after the other.
    """
    found = []
    for k in range(n):
        mixture, midi = source.draw(np.random.default_rng([EXCERPTS_SEED, k]))
        inputs = DescriptorInputs(analyser.from_audio(mixture[None], ANALYSIS_SAMPLE_RATE).frames)
        f0_hz = inputs.get(f0_contours)[voices.VOCALS][0].f0_hz
        known = np.full((len(midi), len(f0_hz)), np.nan)
        known[:, : midi.shape[1]] = midi[:, : len(f0_hz)]
        found.append(example(track_stretches(inputs), f0_hz, known))
    return found


def train_voices(
    folders: Sequence[Path], out: Path, *, model: str = checkpoints.DEFAULT_MODEL, precision: float = 0.8,
    excerpts: int = 0, instrumentals: Sequence[Path] = (),
) -> dict[str, Any]:  # fmt: skip
    """Fit, choose, and write the file that the descriptors read.

    Parameters
    ----------
    folders : Sequence[Path]
        Of generated songs.
    out : Path
        File to write.
    model : str, optional
        Checkpoint; the default one if not given.
    precision : float, default=0.8
        Wanted one, 0..1.
    excerpts : int, default=0
        Of what the network of voices hears in so many excerpts of the songs.
    instrumentals : Sequence[Path], default=()
        Folders of songs without voices, for the excerpts.

    Returns
    -------
    dict[str, Any]
        What was written, with ``judged``, how good models are that have not seen a song, and ``scores``, those of the
        one that is written.

    Raises
    ------
    DatasetError
        Folders without songs, one song alone, or no threshold has that precision.
    """
    analyser, where = Analyser(model, requested=(FURTHER_VOICES,) if excerpts else ()), ", ".join(map(str, folders))
    if excerpts:
        songs = hear_excerpts(ChoirSource(folders, instrumentals), analyser, excerpts)
    else:
        songs = hear_voices(folders, analyser)
    if len(songs) < 2:
        raise DatasetError("one song is not enough: each is judged by a model of others", source=where, stage="train")
    several = [song.counts > 1 for song in songs]
    probability, frame = judged(songs), None
    if excerpts:
        frame = fit_frames(songs, probability)
        probability = in_frames(songs, probability, frame)
    least = choose_least(np.concatenate(probability), np.concatenate(several), precision)
    if least is None:
        raise DatasetError(f"no threshold has a precision of {precision:g}", source=where, stage="train")
    fitted = replace(fit_voices(songs), least=least, frame=frame)
    stored = {
        "features": voices.FEATURES,
        "made_of": {
            "model": analyser.checkpoint.name,
            "songs": len(songs),
            "songs_of_several_voices": sum(bool(true.any()) for true in several),
            "minutes": round(sum(map(len, several)) / FRAME_RATE / 60, 1),
            "precision": precision,
        },
        "weights": np.round(fitted.weights, 4).tolist(),
        "bias": round(fitted.bias, 4),
        "least": round(least, 4),
    } | ({} if frame is None else {"frame": frame})
    store_model(out, stored)
    return stored | {"judged": _told(probability, several, least), "scores": scores(songs, fitted)}


def _told(probability: Sequence[np.ndarray], several: Sequence[np.ndarray], least: float) -> dict[str, float]:
    """What a threshold tells of songs: of frames, and of songs with enough of them."""
    told, true = np.concatenate(probability) >= least, np.concatenate(several)
    sure = [true.any() for p, true in zip(probability, several) if (p >= least).sum() >= ENOUGH_S * FRAME_RATE]
    return {
        "precision": round(float(true[told].mean()), 4),
        "recall": round(float(told[true].mean()), 4),
        "told": round(float(told.mean()), 4),
        "songs_told": len(sure),
        "songs_right": int(sum(sure)),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", nargs="+", type=Path, metavar="SONGS", help="folders of generated songs")
    parser.add_argument(
        "--model", default=checkpoints.DEFAULT_MODEL, metavar="CHECKPOINT", help="whose salience is read"
    )
    parser.add_argument("--precision", type=float, default=0.8, help="of frames in which several voices are told")
    parser.add_argument("--excerpts", type=int, default=0, metavar="N", help="of what the network of voices hears")
    parser.add_argument("--instrumentals", type=Path, nargs="*", default=(), metavar="FOLDER", help="for the excerpts")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="(default: the file of the package)")
    args = parser.parse_args(argv)
    with one_line_errors(parser):
        out = args.out or FOLDER / (voices.HEARD_WEIGHTS if args.excerpts else voices.WEIGHTS)
        kinds = {"excerpts": args.excerpts, "instrumentals": args.instrumentals}
        print(json.dumps(train_voices(args.songs, out, model=args.model, precision=args.precision, **kinds)))


if __name__ == "__main__":
    main()
