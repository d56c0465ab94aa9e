"""Which pulses are the beats, how many make a bar, and where bars begin.

A bar pointer over a grid of half pulses: each hypothesis (tempo level, metre) is a cycle of downbeats, strong beats,
weak beats and off-beats, and the accents at each point of the grid say how likely it is one of these (a log-linear
model, :mod:`stemfeatures.training.rhythm` fits it to generated songs). Hypotheses are compared by the evidence of a
mean pulse, so that a long song does not outvote the priors: accents repeat from bar to bar, and are no news each time.

Within a tempo level all accents decide. Between levels the network's activations of beats and downbeats do not count:
the pulses were found in them, so they speak for the level at which the network hears the song, right or wrong. The
strokes of the drums, the bass and the harmony know better (a model of its own, without the activations).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.ndimage import maximum_filter1d

from ..constants import FRAME_RATE
from .accents import ACCENTS, ACTIVATIONS, STROKE_ACCENTS, AccentStreams, accents_at
from .beats import MAX_BPM, MIN_BPM, BeatTrack, tempo_of

#: Roles of a point of the grid.
DOWNBEAT, STRONG, WEAK, OFFBEAT = range(4)
ROLE_NAMES = ("downbeat", "strong", "weak", "offbeat")
WEIGHTS = "metre_weights.json"
_ROLES = {"D": DOWNBEAT, "S": STRONG, "w": WEAK, "o": OFFBEAT}
#: Metre (numerator and denominator): its bars in roles of beats, and its log prior: 4/4 by far, then 3/4. A bar of 2/4
#: is half of one of 4/4 but for the writing, so only strong evidence makes it one.
METRES: dict[tuple[int, int], tuple[tuple[str, ...], float]] = {
    (4, 4): (("DwSw",), 0.0),
    (3, 4): (("Dww",), -1.2),
    (2, 4): (("Dw",), -9.0),
    (5, 4): (("DwwSw", "DwSww"), -3.0),
    (6, 4): (("DwwSww", "DwSwSw"), -5.0),
    (7, 4): (("DwwwSww", "DwwSwww", "DwSwSww", "DwwSwSw", "DwSwwSw"), -3.5),
}
#: The same of metres whose beat is three eighths.
COMPOUND_METRES: dict[tuple[int, int], tuple[tuple[str, ...], float]] = {
    (6, 8): (("DS",), -1.0),
    (9, 8): (("Dww",), -4.0),
    (12, 8): (("DwSw",), -3.0),
}
#: Grid points a beat: at the tempo of the pulses, at half and twice the tempo, and where the pulses are eighths of a
#: compound metre. Half and twice are looked at for the commonest metres alone.
SAME, HALF, TWICE, EIGHTHS = 2, 4, 1, 6
LEVELS = {SAME: tuple(METRES), HALF: ((4, 4), (3, 4)), TWICE: ((4, 4), (3, 4))}
#: Pulses have three parts when the accents a third and two thirds after them exceed those half way by this factor, and
#: are this share of those on them.
TERNARY_RATIO, TERNARY_SHARE = 1.3, 0.1
#: Tempo prior: log-normal, centre and deviation in octaves; a compound beat counts as one and a half.
PRIOR_BPM, PRIOR_OCTAVES = 105.0, 0.6
#: Pulses that the accents of a song are worth where they decide the metre, and where they decide the level.
WORTH, LEVEL_WORTH = 24.0, 24.0
#: Cost of a bar that loses or gains beats (a fill, a slip), and the least log likelihood of a point.
SLIP_COST = 8.0
LEAST_LOG = -3.0
#: Cost of another level than that of the pulses, which the network heard: most for beats between them; and the highest
#: tempo at which these are looked for.
LEVEL_COSTS = {SAME: 0.0, HALF: 0.5, EIGHTHS: 0.5, TWICE: 6.0}
FASTER_BPM = 160.0
#: Evidence by which downbeats exceed the other beats, in nats, and probability of the metre, below which the bar is not
#: known.
LEAST_CONTRAST = 1.0
LEAST_PROBABILITY = 0.4
#: Evidence differs by so many nats where it decides: the scale of the probabilities.
TEMPERATURE = 3.0
#: A pulse so many times longer than the median is a gap in which no beat was found: the count starts anew.
GAP = 1.8
#: Mean rise of a stem below which it does not play.
_LEAST_RISE = 1e-3
MIN_BARS = 2


@dataclass(frozen=True)
class AccentModel:
    """Log-linear model of the role of a moment.

    Attributes
    ----------
    weights : np.ndarray
        (4, 11) by role and accent.
    bias : np.ndarray
        (4,).
    log_prior : np.ndarray
        (4,) log of the share of each role in training.
    """

    weights: np.ndarray
    bias: np.ndarray
    log_prior: np.ndarray

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights, "bias": self.bias, "log_prior": self.log_prior}

    def log_likelihood(self, accents: np.ndarray) -> np.ndarray:
        """(n, 4) log of the likelihood of (n, 11) accents under each role, up to what all roles share."""
        score = accents @ self.weights.T + self.bias
        score -= score.max(axis=1, keepdims=True)
        score -= np.log(np.exp(score).sum(axis=1, keepdims=True))
        return np.maximum(score - self.log_prior, LEAST_LOG)


#: Models: of the metre; of the tempo level; and of the level where no drums play.
MODELS = ("metre", "level", "level_without_drums")


@cache
def accent_models() -> dict[str, AccentModel]:
    """The models that come with the package, by the names in :data:`MODELS`."""
    stored = json.loads(files(__package__).joinpath(WEIGHTS).read_text())
    if tuple(stored["accents"]) != ACCENTS:
        raise ValueError(f"{WEIGHTS} is of the accents {stored['accents']}, expected {ACCENTS}")
    return {name: AccentModel(**{k: np.array(v) for k, v in stored[name].items()}) for name in MODELS}


@dataclass(frozen=True)
class Bars:
    """Beats and bars of a track.

    Attributes
    ----------
    track : BeatTrack
        The beats, at the tempo level that the accents speak for.
    positions : np.ndarray
        (n_beats,) int64, 1 on downbeats; all 0 when the bar is not known.
    numerator, denominator : int or None
        Of the metre, or None. In 6/8 and 12/8 a beat is three eighths.
    confidence : float or None
        Probability of the metre among all, 0..1, or None with it.
    level_confidence : float
        Probability of the tempo level, 0..1.
    """

    track: BeatTrack
    positions: np.ndarray
    numerator: int | None
    denominator: int | None
    confidence: float | None
    level_confidence: float


@dataclass(frozen=True)
class _Hypothesis:
    """``cycle`` of roles on the grid; ``step``: grid points of a tracked pulse or of a beat, whichever is shorter."""

    metre: tuple[int, int]
    beat: int
    cycle: tuple[int, ...]
    log_prior: float

    @property
    def step(self) -> int:
        return min(self.beat, 2)


def find_bars(track: BeatTrack, streams: AccentStreams) -> Bars:
    """Decide the tempo level and the metre of tracked pulses.

    Parameters
    ----------
    track : BeatTrack
        Pulses, which may be beats, half or double beats, or eighths of a compound metre.
    streams : AccentStreams
        Accents of the track.
    """
    pulses = track.beats_s
    unknown = Bars(track, np.zeros(len(pulses), dtype=np.int64), None, None, None, 0.5)
    if len(pulses) < 4:
        return unknown
    intervals = np.diff(pulses)
    period = float(np.median(intervals))
    grid = np.interp(np.arange(2 * len(pulses) - 1) / 2, np.arange(len(pulses)), pulses)
    accents = accents_at(streams, grid, period)
    hypotheses = _hypotheses(60 / period, ternary_pulses(streams, pulses))
    if not accents[:, len(ACTIVATIONS) :].any():
        # Nothing but the network's opinion: it cannot speak for another level than its own.
        hypotheses = [h for h in hypotheses if h.beat == SAME]
    hypotheses = [h for h in hypotheses if len(grid) >= MIN_BARS * len(h.cycle)]
    if not hypotheses:
        return unknown
    # Between the pulses across a gap nothing is known, and the count starts anew behind it.
    gaps = np.flatnonzero(intervals > GAP * period)
    accents[2 * gaps + 1] = 0.0
    free = np.zeros(len(grid), dtype=bool)
    free[np.r_[2 * gaps + 1, 2 * gaps + 2]] = True
    models = accent_models()
    metre = models["metre"].log_likelihood(accents)
    drums = accents[:, np.isin(ACCENTS, STROKE_ACCENTS)].any()
    level = models["level" if drums else "level_without_drums"].log_likelihood(accents)
    totals, paths = _best_cycles(metre, free, hypotheses)
    bars = _decide(track, grid, hypotheses, totals / len(grid) * 2, paths, metre, level)
    if len(bars.track.beats_s) == len(pulses):
        return bars
    return replace(bars, track=replace(bars.track, tempo_bpm=tempo_of(bars.track.beats_s, streams.pulses[0])))


def _hypotheses(bpm: float, ternary: bool) -> list[_Hypothesis]:
    """All tempo levels and metres of pulses at ``bpm``, which have three parts or not."""
    if ternary:
        return _of_level(SAME, bpm, COMPOUND_METRES, 1.5)
    found = _of_level(EIGHTHS, bpm, COMPOUND_METRES, 1.5)
    for beat, metres in LEVELS.items():
        found += _of_level(beat, bpm, {metre: METRES[metre] for metre in metres}, 1.0)
    return found


def _of_level(
    beat: int, bpm: float, metres: dict[tuple[int, int], tuple[tuple[str, ...], float]], felt: float
) -> list[_Hypothesis]:
    tempo = bpm * SAME / beat
    if beat != SAME and not MIN_BPM <= tempo <= (FASTER_BPM if beat == TWICE else MAX_BPM):
        return []
    tempo_prior = -0.5 * (np.log2(felt * tempo / PRIOR_BPM) / PRIOR_OCTAVES) ** 2
    rests = (OFFBEAT,) * (beat - 1)
    return [
        _Hypothesis(
            metre, beat, tuple(role for letter in bar for role in (_ROLES[letter], *rests)), prior + tempo_prior
        )
        for metre, (bars, prior) in metres.items()
        for bar in bars
    ]


def ternary_pulses(streams: AccentStreams, pulses_s: np.ndarray) -> bool:
    """Whether pulses have three parts: strokes and notes fall a third and two thirds after them, not half way.

    A swung rhythm, which leaves the first third out, has not.
    """
    rises = streams.pulses[len(ACTIVATIONS) :]
    mean = rises.mean(axis=1, keepdims=True)
    told = mean > _LEAST_RISE
    busy = maximum_filter1d((rises / np.where(told, mean, 1.0) * told).sum(axis=0), 3)
    parts = []
    for share in (0, 1 / 3, 1 / 2, 2 / 3):
        at = np.rint((pulses_s[:-1] + share * np.diff(pulses_s)) * FRAME_RATE).astype(int)
        parts.append(float(np.median(busy[np.clip(at, 0, len(busy) - 1)])))
    on, first, half, second = parts
    thirds = min(first, second)
    return thirds > TERNARY_RATIO * half and thirds > TERNARY_SHARE * on


def _best_cycles(
    evidence: np.ndarray, free: np.ndarray, hypotheses: list[_Hypothesis]
) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood and place in the cycle of the best count of each hypothesis.

    Parameters
    ----------
    evidence : np.ndarray
        (n_points, 4) log likelihood by role.
    free : np.ndarray
        (n_points,) bool, whether a count may start anew there at no cost.

    Returns
    -------
    totals : np.ndarray
        (n_hypotheses,) log likelihood of the best path.
    paths : np.ndarray
        (n_hypotheses, n_points) place in the cycle.
    """
    n, count = len(evidence), len(hypotheses)
    longest = max(len(h.cycle) for h in hypotheses)
    roles = np.zeros((count, longest), dtype=np.intp)
    before = np.zeros((count, longest), dtype=np.intp)
    # Slips keep the place within a beat (or a pulse): best origins are looked for among places of the same remainder.
    group = np.full((count, longest), -1)
    for row, h in enumerate(hypotheses):
        m = len(h.cycle)
        roles[row, :m] = h.cycle
        before[row, :m] = (np.arange(m) - 1) % m
        group[row, :m] = np.arange(m) % h.step
    outside = group < 0
    rows = np.arange(count)[:, None]
    total = np.where(outside, -np.inf, evidence[0][roles])
    back = np.zeros((n, count, longest), dtype=np.int16)
    for t in range(1, n):
        on = total[rows, before]
        best = np.stack([np.where(group == g, total, -np.inf).argmax(axis=1) for g in (0, 1)], axis=1)
        # The origin of a slip is of the remainder before that of the place.
        step = np.where((group.max(axis=1) == 0)[:, None], 0, 1 - group.clip(0))
        origin = best[rows, step]
        slipped = total[rows, origin] - (0.0 if free[t] else SLIP_COST)
        better = slipped > on
        back[t] = np.where(better, origin, before)
        total = np.where(outside, -np.inf, np.where(better, slipped, on) + evidence[t][roles])
    paths = np.empty((count, n), dtype=np.intp)
    paths[:, -1] = total.argmax(axis=1)
    for t in range(n - 1, 0, -1):
        paths[:, t - 1] = back[t, rows[:, 0], paths[:, t]]
    return total.max(axis=1), paths


def _decide(
    track: BeatTrack,
    grid: np.ndarray,
    hypotheses: list[_Hypothesis],
    gain: np.ndarray,
    paths: np.ndarray,
    metre: np.ndarray,
    level: np.ndarray,
) -> Bars:
    """Beats at the likeliest level; their metre where it is clear.

    ``gain``: evidence a pulse of each hypothesis, whose places in the cycle are ``paths``; ``metre``, ``level``:
    (n_points, 4) log likelihood by role of the model of the metre and of that of the level.
    """
    prior = np.array([h.log_prior for h in hypotheses])
    scores = gain * WORTH + prior
    levels = sorted({h.beat for h in hypotheses})
    best_of = [max((k for k, h in enumerate(hypotheses) if h.beat == beat), key=lambda k: scores[k]) for beat in levels]
    points = np.arange(len(grid))
    level_scores = np.array(
        [level[points, np.array(hypotheses[k].cycle)[paths[k]]].mean() * 2 * LEVEL_WORTH + prior[k] for k in best_of]
    )
    level_scores -= [LEVEL_COSTS[beat] for beat in levels]
    shares = _shares(level_scores)
    # Another level than that of the pulses must show a clear bar.
    for place in np.argsort(-level_scores):
        chosen = hypotheses[best_of[place]]
        confidence = _metre_share(hypotheses, scores, chosen)
        contrast = _contrast(metre, paths[best_of[place]], chosen.beat)
        clear = contrast >= LEAST_CONTRAST and confidence >= LEAST_PROBABILITY
        if clear or chosen.beat == SAME:
            break
    path = paths[best_of[place]]
    on_beat = path % chosen.beat == 0
    beats_s = grid[on_beat]
    moved = BeatTrack(beats_s, np.interp(beats_s, track.beats_s, track.strength), track.tempo_bpm)
    if not clear:
        return Bars(moved, np.zeros(len(beats_s), dtype=np.int64), None, None, None, float(shares[place]))
    numerator, denominator = chosen.metre
    positions = path[on_beat] // chosen.beat + 1
    return Bars(moved, positions, numerator, denominator, confidence, float(shares[place]))


def _contrast(evidence: np.ndarray, path: np.ndarray, beat: int) -> float:
    """How much more the downbeats than the other beats look like downbeats rather than weak beats, in nats."""
    lead = evidence[:, DOWNBEAT] - evidence[:, WEAK]
    first, others = lead[path == 0], lead[(path % beat == 0) & (path > 0)]
    return float(first.mean() - others.mean()) if len(first) and len(others) else 0.0


def _metre_share(hypotheses: list[_Hypothesis], scores: np.ndarray, chosen: _Hypothesis) -> float:
    """Probability of the metre of ``chosen`` among the hypotheses of its level."""
    rivals = [k for k, h in enumerate(hypotheses) if h.beat == chosen.beat]
    same = [hypotheses[k].metre == chosen.metre for k in rivals]
    return float(_shares(scores[rivals])[same].sum())


def _shares(scores: np.ndarray) -> np.ndarray:
    weight = np.exp((scores - scores.max()) / TEMPERATURE)
    return np.asarray(weight / weight.sum())
