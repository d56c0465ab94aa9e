"""Which pulses are the beats, how many make a bar, and where bars begin.

A bar pointer over a grid of half pulses: each hypothesis (tempo level, metre) is a cycle of downbeats, strong beats,
weak beats and off-beats, and the accents at each point of the grid say how likely it is one of these (a log-linear
model, :mod:`stemfeatures.training.rhythm` fits it to generated songs). Hypotheses are compared by the evidence of a
mean pulse, so that a long song does not outvote the priors: accents repeat from bar to bar, and are no news each time.

Within a tempo level all accents decide. Between levels the network's activations of beats and downbeats do not count:
the pulses were found in them, so they speak for the level at which the network hears the song, right or wrong. The
strokes of the drums, the bass and the harmony know better (a model of its own, without the activations), and so does
what happens in a beat (:mod:`stemfeatures.descriptors.levels`).

A song is in 6/8, 9/8 or 12/8 where its beats have three parts that are played. A swung or shuffled song leaves the
first of the three out; it is in 4/4, and its swing is told by ``swing_ratio``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np

from .._util.numba_cache import compiled_when_called
from .accents import ACCENTS, ACTIVATIONS, STROKE_ACCENTS, AccentStreams, accents_at
from .beats import MAX_BPM, MIN_BPM, BeatTrack, tempo_of
from .levels import COMPOUND, GRID_POINTS, level_features, level_shares, level_weights, pulse_contents

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
#: Log priors by which one of these is chosen on its beats alone, whose evidence is worth more nats: a bar of 12/8 is
#: two of 6/8, and stronger than the other beats every second one is in both.
COMPOUND_PRIORS = {(6, 8): 0.0, (9, 8): -6.0, (12, 8): -9.5}
#: Metres that are looked at where the pulses are not the beats: the commonest alone.
COMMON = ((4, 4), (3, 4))
#: Pulses that the accents of a song are worth where they decide the metre, and where they decide the level.
WORTH, LEVEL_WORTH = 24.0, 24.0
#: Cost of a bar that loses or gains beats (a fill, a slip), and the least log likelihood of a point.
SLIP_COST = 8.0
LEAST_LOG = -3.0
#: Highest tempo at which beats between the pulses are looked for.
FASTER_BPM = 160.0
#: The beats are moved to another level than those at which they are the pulses where it is so many times as likely.
SURE_LEVEL = 2.0
#: With fewer bars at that level it must have this probability, too.
ENOUGH_BARS, SURE_OF_FEW = 4, 0.6
#: Evidence by which downbeats exceed the other beats, in nats, and probability of the metre, below which the bar is not
#: known.
LEAST_CONTRAST = 1.0
LEAST_PROBABILITY = 0.4
#: Evidence differs by so many nats where it decides: the scale of the probabilities.
TEMPERATURE = 3.0
#: A pulse so many times longer than the median is a gap in which no beat was found: the count starts anew.
GAP = 1.8
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
    """``cycle`` of roles on the grid of half pulses, in beats of a level."""

    level: str
    metre: tuple[int, int]
    cycle: tuple[int, ...]
    log_prior: float

    @property
    def beat(self) -> int:
        """Grid points a beat."""
        return GRID_POINTS[self.level]

    @property
    def step(self) -> int:
        """Grid points of a tracked pulse or of a beat, whichever is shorter; 1 where they share none."""
        return 1 if self.beat % 2 else min(self.beat, 2)


@dataclass(frozen=True)
class LevelEvidence:
    """What the accents say of every level of some pulses.

    Attributes
    ----------
    grid_s : np.ndarray
        (n_points,) seconds of the pulses and of what lies half way.
    levels : tuple of str
        Those that are possible.
    bpm : np.ndarray
        (n_levels,) tempo at each.
    features : np.ndarray
        (n_levels, n_features) of :func:`~.levels.level_features`.
    paths : np.ndarray
        (n_levels, n_points) place in the cycle of the best bar of each level.
    bars : tuple of _Hypothesis
        That bar, by level.
    shares : np.ndarray
        (n_levels,) probability of its metre among those of its level.
    contrasts : np.ndarray
        (n_levels,) by how much its downbeats look more like downbeats than its other beats, in nats.
    """

    grid_s: np.ndarray
    levels: tuple[str, ...]
    bpm: np.ndarray
    features: np.ndarray
    paths: np.ndarray
    bars: tuple[_Hypothesis, ...]
    shares: np.ndarray
    contrasts: np.ndarray


def find_bars(track: BeatTrack, streams: AccentStreams) -> Bars:
    """Decide the tempo level and the metre of tracked pulses.

    Parameters
    ----------
    track : BeatTrack
        Pulses, which may be beats, half or double beats, or eighths of a compound metre.
    streams : AccentStreams
        Accents of the track.
    """
    evidence = level_evidence(track, streams)
    if evidence is None:
        return Bars(track, np.zeros(len(track.beats_s), dtype=np.int64), None, None, None, 0.5)
    likely = level_shares(evidence.features, level_weights())
    place = _chosen_level(evidence, likely)
    bars = _bars_at(track, evidence, place, float(likely[place]))
    if len(bars.track.beats_s) == len(track.beats_s):
        return bars
    return replace(bars, track=replace(bars.track, tempo_bpm=tempo_of(bars.track.beats_s, streams.pulses[0])))


def level_evidence(track: BeatTrack, streams: AccentStreams) -> LevelEvidence | None:
    """What the accents of a track say of each level of its pulses; None for too few pulses."""
    pulses = track.beats_s
    if len(pulses) < 4:
        return None
    intervals = np.diff(pulses)
    period = float(np.median(intervals))
    grid = np.interp(np.arange(2 * len(pulses) - 1) / 2, np.arange(len(pulses)), pulses)
    accents = accents_at(streams, grid, period)
    hypotheses = _hypotheses(60 / period)
    if not accents[:, len(ACTIVATIONS) :].any():
        # Nothing but the network's opinion: it cannot speak for another level than its own.
        hypotheses = [h for h in hypotheses if h.level == "same"]
    hypotheses = [h for h in hypotheses if len(grid) >= MIN_BARS * len(h.cycle)]
    if not hypotheses:
        return None
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
    scores = totals / len(grid) * 2 * WORTH + np.array([h.log_prior for h in hypotheses])
    levels = tuple(dict.fromkeys(h.level for h in hypotheses))
    best = [max((k for k, h in enumerate(hypotheses) if h.level == name), key=lambda k: scores[k]) for name in levels]
    bars = tuple(hypotheses[k] for k in best)
    bpm = 60 / period * GRID_POINTS["same"] / np.array([h.beat for h in bars])
    contents, points = pulse_contents(streams, pulses), np.arange(len(grid))
    features = [
        level_features(
            h.level,
            tempo,
            level[points, np.array(h.cycle)[paths[k]]].mean() * 2 * LEVEL_WORTH,
            scores[k],
            contents,
        )
        for h, tempo, k in zip(bars, bpm, best, strict=True)
    ]
    found = [
        _bar_on_beats(streams, grid, paths[k], h)
        if h.level in COMPOUND
        else (h, paths[k], _metre_share(hypotheses, scores, h))
        for h, k in zip(bars, best, strict=True)
    ]
    return LevelEvidence(
        grid,
        levels,
        bpm,
        np.array(features),
        np.array([path for _, path, _ in found]),
        tuple(h for h, _, _ in found),
        np.array([share for _, _, share in found]),
        np.array([_contrast(metre, path, h.beat) for h, path, _ in found]),
    )


def _bar_on_beats(
    streams: AccentStreams, grid_s: np.ndarray, path: np.ndarray, compound: _Hypothesis
) -> tuple[_Hypothesis, np.ndarray, float]:
    """The bar of a compound level by its beats, where changes of harmony are those over a beat.

    On a grid of eighths they are those over an eighth, and most points lie between the beats.

    Parameters
    ----------
    grid_s, path : np.ndarray
        (n_points,) seconds, and places in the cycle of ``compound``.

    Returns
    -------
    chosen : _Hypothesis
        Of the same level, with the metre.
    path : np.ndarray
        (n_points,) places in its cycle.
    share : float
        Probability of the metre among those of the level.
    """
    place = path % compound.beat
    beats_s = grid_s[place == 0]
    bars = [
        _Hypothesis(compound.level, metre, tuple(_ROLES[letter] for letter in bar), COMPOUND_PRIORS[metre])
        for metre, (cycles, _) in COMPOUND_METRES.items()
        for bar in cycles
        if len(beats_s) >= MIN_BARS * len(bar)
    ]
    if not bars:
        return compound, path, 0.0
    evidence = accent_models()["metre"].log_likelihood(accents_at(streams, beats_s, float(np.median(np.diff(beats_s)))))
    totals, paths = _best_cycles(evidence, np.zeros(len(beats_s), dtype=bool), bars)
    scores = totals / len(beats_s) * WORTH + np.array([bar.log_prior for bar in bars])
    best = int(scores.argmax())
    chosen = next(h for h in _hypotheses_of(compound.level) if h.metre == bars[best].metre)
    # Points before the first beat are of the beat before it.
    beat = np.r_[(paths[best][0] - 1) % len(bars[best].cycle), paths[best]][np.cumsum(place == 0)]
    return chosen, beat * compound.beat + place, float(_shares(scores)[best])


def _hypotheses(bpm: float) -> list[_Hypothesis]:
    """All tempo levels and metres of pulses at ``bpm``."""
    found = []
    for level, points in GRID_POINTS.items():
        tempo = bpm * GRID_POINTS["same"] / points
        if points != GRID_POINTS["same"] and not MIN_BPM <= tempo <= (FASTER_BPM if level == "twice" else MAX_BPM):
            continue
        found += _hypotheses_of(level)
    return found


def _hypotheses_of(level: str) -> list[_Hypothesis]:
    """All metres at one tempo level."""
    metres = COMPOUND_METRES if level in COMPOUND else METRES
    rests = (OFFBEAT,) * (GRID_POINTS[level] - 1)
    return [
        _Hypothesis(level, metre, tuple(role for letter in bar for role in (_ROLES[letter], *rests)), prior)
        for metre, (bars, prior) in metres.items()
        if level in ("same", *COMPOUND) or metre in COMMON
        for bar in bars
    ]


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
    total = np.where(group < 0, -np.inf, evidence[0][roles])
    back = np.zeros((n, count, longest), dtype=np.int8)
    slip_cost = np.where(free, 0.0, SLIP_COST)[1:]
    _count_on(np.ascontiguousarray(evidence[1:]), slip_cost, roles, before, group, total, back[1:])
    paths = np.empty((count, n), dtype=np.intp)
    paths[:, -1] = total.argmax(axis=1)
    for t in range(n - 1, 0, -1):
        paths[:, t - 1] = back[t, np.arange(count), paths[:, t]]
    return total.max(axis=1), paths


@compiled_when_called()
def _count_on(
    evidence: np.ndarray, slip_cost: np.ndarray, roles: np.ndarray, before: np.ndarray, group: np.ndarray,
    total: np.ndarray, back: np.ndarray,
) -> None:  # fmt: skip  # pragma: no cover - compiled
    """Log likelihoods ``total`` of the places ``(n_hypotheses, n_places)`` some points later, and whence they came."""
    count, longest = roles.shape
    now, origin = np.empty(longest), np.zeros(2, np.int64)
    for t in range(len(evidence)):
        for row in range(count):
            n_groups = 0
            for g in range(2):
                best, origin[g] = -np.inf, 0
                for place in range(longest):
                    if group[row, place] == g:
                        n_groups = g + 1
                        if total[row, place] > best:
                            best, origin[g] = total[row, place], place
            for place in range(longest):
                if group[row, place] >= 0:
                    # The origin of a slip is of the remainder before that of the place.
                    slip = origin[0 if n_groups == 1 else 1 - group[row, place]]
                    on, slipped = total[row, before[row, place]], total[row, slip] - slip_cost[t]
                    back[t, row, place] = slip if slipped > on else before[row, place]
                    now[place] = max(slipped, on) + evidence[t, roles[row, place]]
                else:
                    now[place] = -np.inf
            for place in range(longest):  # an assignment of arrays takes seconds to compile
                total[row, place] = now[place]


def _chosen_level(evidence: LevelEvidence, likely: np.ndarray) -> int:
    """Place of the likeliest level; in doubt, or without a clear bar, that at which the pulses are the beats."""
    place = int(likely.argmax())
    beats = np.array([GRID_POINTS[level] == GRID_POINTS["same"] for level in evidence.levels])
    if beats[place] or not beats.any():
        return place
    pulses = int(np.where(beats, likely, -1.0).argmax())
    sure = likely[place] >= SURE_LEVEL * likely[pulses] and _is_clear(evidence, place)
    if len(evidence.grid_s) < ENOUGH_BARS * len(evidence.bars[place].cycle):
        sure = sure and likely[place] >= SURE_OF_FEW
    return place if sure else pulses


def _is_clear(evidence: LevelEvidence, place: int) -> bool:
    """Whether the bar of a level is known."""
    return bool(evidence.contrasts[place] >= LEAST_CONTRAST and evidence.shares[place] >= LEAST_PROBABILITY)


def _bars_at(track: BeatTrack, evidence: LevelEvidence, place: int, level_confidence: float) -> Bars:
    """Beats at one of the levels; their metre where it is clear."""
    chosen, path = evidence.bars[place], evidence.paths[place]
    on_beat = path % chosen.beat == 0
    beats_s = evidence.grid_s[on_beat]
    moved = BeatTrack(beats_s, np.interp(beats_s, track.beats_s, track.strength), track.tempo_bpm)
    confidence = float(evidence.shares[place])
    if not _is_clear(evidence, place):
        return Bars(moved, np.zeros(len(beats_s), dtype=np.int64), None, None, None, level_confidence)
    numerator, denominator = chosen.metre
    positions = path[on_beat] // chosen.beat + 1
    return Bars(moved, positions, numerator, denominator, confidence, level_confidence)


def _contrast(evidence: np.ndarray, path: np.ndarray, beat: int) -> float:
    """How much more the downbeats than the other beats look like downbeats rather than weak beats, in nats."""
    lead = evidence[:, DOWNBEAT] - evidence[:, WEAK]
    first, others = lead[path == 0], lead[(path % beat == 0) & (path > 0)]
    return float(first.mean() - others.mean()) if len(first) and len(others) else 0.0


def _metre_share(hypotheses: list[_Hypothesis], scores: np.ndarray, chosen: _Hypothesis) -> float:
    """Probability of the metre of ``chosen`` among the hypotheses of its level."""
    rivals = [k for k, h in enumerate(hypotheses) if h.level == chosen.level]
    same = [hypotheses[k].metre == chosen.metre for k in rivals]
    return float(_shares(scores[rivals])[same].sum())


def _shares(scores: np.ndarray) -> np.ndarray:
    weight = np.exp((scores - scores.max()) / TEMPERATURE)
    return np.asarray(weight / weight.sum())
