"""Fit what decides the level of the tempo, and how far beats are to be trusted, on generated songs.

    python -m stemfeatures.training.tempo --songs 22 --seed 790000

makes and analyses songs of all styles in turn, every second one without its drums too, every third one once more with a
tempo that swings, and beside every fourth one in compound time, and fits two models:

* which of the levels of a pulse is the beat (:mod:`stemfeatures.descriptors.levels`): a conditional log-linear model of
  the level at which the pulses are the true beats;
* the F-measure that the beats of a track reach (:mod:`stemfeatures.descriptors.beat_confidence`): a logistic one, none
  of whose features may count against what it says. It learns also from songs of which neither voice nor bass nor drums
  are heard (``--solos``), once with a steady tempo and once with one that swings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..analysis import Analyser
from ..audio import resample
from ..descriptors import beat_confidence, levels
from ..descriptors.fitted import store_model
from ..descriptors.inputs import DescriptorInputs
from ..descriptors.metre import LevelEvidence, level_evidence
from ..descriptors.rhythm import accents, tracked_pulses
from ..frames import TrackFrames
from ..generator.compose.styles import DRAWN_STYLES
from ..generator.song import VERSION, Song, generate_song
from .logistic import fit_logistic

FOLDER = Path(levels.__file__).parent
#: Penalty on squared weights of features of deviation 1, in songs.
LEVEL_PENALTY, CONFIDENCE_PENALTY = 1.0, 0.3
#: Whether beats that were tracked are higher in a feature of confidence, lower, or either.
CONFIDENCE_SIGNS = {
    "strength": 1, "weakest": 1, "contrast": 1, "unexplained": -1, "periodicity": 1, "deviation": -1, "jitter": -1,
    "on_events": 1, "steady": 1,
}  # fmt: skip
#: The models, by the names by which they are asked for.
MODELS = ("level", "confidence")
#: A level is the true one when its tempo is within this many octaves of that of the beats.
SAME_TEMPO = 0.07
#: How far the tempo swings in the songs that are made so, in turn.
RUBATO = (0.06, 0.12, 0.2, 0.3)
#: Of the songs whose other instruments are heard alone: one of them, and those of an instrumental.
SOLO_LINEUPS = ("duo", "instrumental")
#: How far their seeds lie from those of the other songs.
SOLO_SEED = 1000
#: Styles whose beats have three parts.
COMPOUND_STYLES = ("six_eight", "soul_ballad")


@dataclass
class TempoExample:
    """One analysed song with its true beats.

    Attributes
    ----------
    frames : TrackFrames
        Of the mixture, or of all but the drums.
    beats_s : np.ndarray
        (n_beats,) seconds.
    metre : str
        ``4/4``, ``6/8`` ...; over 8 a beat is three eighths.
    rubato : float
        How far the tempo swings.
    drums : bool
        Whether drums are in what was analysed.
    style : str
        One of the generator's.
    solo : bool, default=False
        Whether what is neither voice nor bass nor drums was analysed alone.
    """

    frames: TrackFrames
    beats_s: np.ndarray
    metre: str
    rubato: float
    drums: bool
    style: str
    solo: bool = False

    @property
    def denominator(self) -> int:
        """Of the metre."""
        return int(self.metre.split("/")[1])


def tempo_songs(
    n_songs: int,
    seed: int,
    duration_s: float,
    *,
    styles: Sequence[str] | None = None,
    sample_rate: int | None = None,
) -> Iterator[TempoExample]:
    """Generated songs of all styles in turn, every second without drums too, every third with a swinging tempo.

    Beside every fourth there is one in compound time, with and without drums, of which the styles have few; not where
    ``styles`` names those that take turns. With ``sample_rate`` (Hz) they are resampled before they are analysed.
    """
    example = partial(_example, Analyser(), sample_rate)
    compound = styles is None
    styles = styles or DRAWN_STYLES
    for k in range(n_songs):
        turn = k + k // len(styles)  # so that no style has the same part in every round
        style = styles[k % len(styles)]
        song = generate_song(seed + k, duration_s=duration_s, style=style)
        yield example(song, 0.0, drums=True)
        if turn % 2 == 0:
            yield example(song, 0.0, drums=False)
        if turn % 3 == 0:
            rubato = RUBATO[turn // 3 % len(RUBATO)]
            song = generate_song(seed + k, duration_s=duration_s, style=style, rubato=rubato)
            yield example(song, rubato, drums=False)
        if compound and k % 4 == 0:
            style = COMPOUND_STYLES[k // 4 % len(COMPOUND_STYLES)]
            song = generate_song(seed + n_songs + k, duration_s=duration_s, style=style)
            yield example(song, 0.0, drums=True)
            yield example(song, 0.0, drums=False)


def rubato_songs(
    n_songs: int,
    seed: int,
    duration_s: float,
    *,
    styles: Sequence[str] | None = None,
    sample_rate: int | None = None,
) -> Iterator[TempoExample]:
    """Generated songs of all styles in turn without drums, their tempo swinging by each of :data:`RUBATO` in turn."""
    example = partial(_example, Analyser(), sample_rate)
    styles = styles or DRAWN_STYLES
    for k in range(n_songs):
        rubato = RUBATO[k % len(RUBATO)]
        song = generate_song(seed + k, duration_s=duration_s, style=styles[k % len(styles)], rubato=rubato)
        yield example(song, rubato, drums=False)


def solo_songs(
    n_songs: int,
    seed: int,
    duration_s: float,
    *,
    styles: Sequence[str] | None = None,
    sample_rate: int | None = None,
) -> Iterator[TempoExample]:
    """What is neither voice nor bass nor drums of generated songs of all styles in turn, alone.

    That is one instrument, or those of an instrumental, in turn; each once with a steady tempo and once with one that
    swings by each of :data:`RUBATO` in turn.
    """
    example = partial(_example, Analyser(), sample_rate)
    styles = styles or DRAWN_STYLES
    for k in range(n_songs):
        request: dict[str, Any] = {"style": styles[k % len(styles)], "lineup": SOLO_LINEUPS[k % len(SOLO_LINEUPS)]}
        for rubato in (0.0, RUBATO[(k // 2 + k) % len(RUBATO)]):
            song = generate_song(seed + k, duration_s=duration_s, rubato=rubato, **request)
            yield example(song, rubato, drums=False, solo=True)


def _example(
    analyser: Analyser, sample_rate: int | None, song: Song, rubato: float, *, drums: bool, solo: bool = False
) -> TempoExample:
    truth = song.truth
    heard = song.stems["other"] if solo else song.mixture if drums else song.mixture - song.stems["drums"]
    if sample_rate is not None:
        heard = resample(heard, truth.sample_rate, sample_rate)
    return TempoExample(
        analyser.from_audio(heard, sample_rate or truth.sample_rate).frames,
        np.array(truth.beats_s),
        str(truth.choices["metre"]),
        rubato,
        drums and bool(truth.notes["drums"]),
        str(truth.choices["style"]),
        solo,
    )


def true_levels(evidence: LevelEvidence, song: TempoExample) -> np.ndarray:
    """(n_levels,) bool: whether a level has the tempo of the true beats and divides them as they are divided."""
    bpm = 60 / np.median(np.diff(song.beats_s))
    compound = np.array([level in levels.COMPOUND for level in evidence.levels])
    return np.asarray((np.abs(np.log2(evidence.bpm / bpm)) <= SAME_TEMPO) & (compound == (song.denominator == 8)))


def fit_levels(songs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Weights of a conditional log-linear model.

    Parameters
    ----------
    songs : iterable of (np.ndarray, np.ndarray)
        (n_levels, n_features) and (n_levels,) bool, whether the level is the true one; songs without a true one among
        their levels are passed over.

    Returns
    -------
    (n_features,) ndarray
        Such that the true levels are the likeliest by :func:`~.levels.level_shares`.
    """
    told = [song for song in songs if song[1].any()]
    spread = np.concatenate([features for features, _ in told]).std(axis=0) + 1e-6

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = LEVEL_PENALTY / 2 * float(weights @ weights), LEVEL_PENALTY * weights
        for features, true in told:
            scaled = features / spread
            share = levels.level_shares(scaled, weights)
            right = share * true
            value -= float(np.log(max(right.sum(), 1e-12)))
            gradient = gradient + (share - right / max(right.sum(), 1e-12)) @ scaled
        return value, gradient

    found = minimize(loss, np.zeros(len(spread)), jac=True, method="L-BFGS-B")
    return np.asarray(found.x / spread)


def reached_f(true_s: np.ndarray, found_s: np.ndarray, denominator: int) -> float:
    """F-measure of beats at the best level: true beats, every second, their halves; eighths in compound time."""
    import mir_eval

    parts = [1, 2, 3] if denominator == 8 else [1, 2]
    candidates = [np.interp(np.arange((len(true_s) - 1) * k + 1) / k, np.arange(len(true_s)), true_s) for k in parts]
    # Every second of the beats, and of the eighths.
    candidates += [times[first::2] for times in (true_s, *candidates[2:]) for first in (0, 1)]
    span = found_s[0] - 0.2, found_s[-1] + 0.2
    inside = [times[(times >= span[0]) & (times <= span[1])] for times in candidates]
    return max(float(mir_eval.beat.f_measure(times, found_s)) if len(times) else 0.0 for times in inside)


def fit_confidence(features: np.ndarray, reached: np.ndarray) -> beat_confidence.ConfidenceModel:
    """Logistic model of ``(n_songs,)`` F-measures, from ``(n_songs, n_features)``."""
    signs = [CONFIDENCE_SIGNS[name] for name in beat_confidence.FEATURES]
    return beat_confidence.ConfidenceModel(*fit_logistic(features, reached, penalty=CONFIDENCE_PENALTY, signs=signs))


def fit_songs(songs: Iterable[TempoExample]) -> tuple[np.ndarray, beat_confidence.ConfidenceModel]:
    """Both models of analysed songs; those without tracked beats are passed over."""
    chosen, features, reached = [], [], []
    for song in songs:
        inputs = DescriptorInputs(song.frames)
        pulses, streams = inputs.get(tracked_pulses), inputs.get(accents)
        if pulses.track is None:
            continue
        features.append(beat_confidence.confidence_features(pulses.activation, streams, pulses.track))
        reached.append(reached_f(song.beats_s, pulses.track.beats_s, song.denominator))
        evidence = level_evidence(pulses.track, streams)
        if evidence is not None and not song.rubato and not song.solo:
            chosen.append((evidence.features, true_levels(evidence, song)))
    return fit_levels(chosen), fit_confidence(np.array(features), np.array(reached))


def write_models(
    songs: Iterable[TempoExample], folder: Path, made_of: dict[str, Any], models: Sequence[str] = MODELS
) -> None:
    """Fit both models and write the files that the descriptors read, of those that are named."""
    weights, model = fit_songs(songs)
    if "level" in models:
        store_model(
            folder / levels.WEIGHTS,
            {"features": levels.FEATURES, "made_of": made_of, "weights": np.round(weights, 4).tolist()},
        )
    if "confidence" in models:
        store_model(
            folder / beat_confidence.WEIGHTS,
            {
                "features": beat_confidence.FEATURES,
                "made_of": made_of,
                "weights": np.round(model.weights, 4).tolist(),
                "bias": round(model.bias, 4),
            },
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=22)
    parser.add_argument("--solos", type=int, default=12, help="seeds from 1000 behind those of the songs on")
    parser.add_argument("--seed", type=int, default=790_000)
    parser.add_argument("--duration", type=float, default=24.0, metavar="SECONDS")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="those that are written")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER, metavar="FOLDER")
    args = parser.parse_args(argv)
    if args.songs < 1:
        parser.error(f"{args.songs} songs: nothing can be learned from them")
    songs = list(tempo_songs(args.songs, args.seed, args.duration))
    songs += solo_songs(args.solos, args.seed + SOLO_SEED, args.duration)
    made_of = {
        "songs": args.songs,
        "solos": args.solos,
        "seed": args.seed,
        "duration_s": args.duration,
        "model": songs[0].frames.model,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_models(songs, args.out, made_of | {"generator": VERSION}, args.models)


if __name__ == "__main__":
    main()
