"""Mixes of which is known, by construction, what they share: planned from songs with stems, and rendered.

From each base song come, all of the same length:

``original``      a window of it
``<stem>-shared``   that stem alone, one bar earlier or later, under the other stems of other songs
``<stem>-swapped``  all but that stem, one bar earlier or later, with that stem of another song
``excerpt``       another window, without overlap
``transposed``    the original with everything but the drums two or three semitones up or down

Generated partners are never base songs. Where tempo and key are known, a partner is played at the speed that brings it
to the tempo of the base (as on a turntable), and taken only if its key is then that of the base or a neighbour on the
circle of fifths, a quarter of a semitone off at most: a mix sounds like music, and neither tempo nor key betrays which
stem is the guest. Every stem is brought to the same level, give or take 2 dB, so that the balance betrays nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experiments.stems_for_recommendation.stem_songs import STEP_S, StemSong, read_excerpt
from stemfeatures._util.numba_cache import import_librosa
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, STEMS
from stemfeatures.errors import DatasetError

KINDS = ("original", *(f"{s}-shared" for s in STEMS), *(f"{s}-swapped" for s in STEMS), "excerpt", "transposed")
#: Level of a stem's louder moments (the 90th percentile of half seconds) in dB, and its spread.
LEVEL_DB, SPREAD_DB = -22.0, 2.0
#: A base song sounds in at least this share of its window in every stem; a partner in the stem it lends.
COVERAGE = 0.45
_MOST_SEMITONES, _MOST_DETUNED = 4, 0.25


@dataclass(frozen=True)
class StemExcerpt:
    """One stem of a mix: where it comes from, how it is played."""

    song: str
    start_s: float
    speed: float = 1.0
    gain_db: float = 0.0
    semitones: float = 0.0


@dataclass(frozen=True)
class Mix:
    """A mix: ``base`` is the song it is made around, ``group`` the seed it was drawn with."""

    mix_id: str
    group: int
    base: str
    kind: str
    stems: dict[str, StemExcerpt]


def plan_mixes(songs: Sequence[StemSong], *, groups: int, bases: int, seconds: float, seed: int) -> list[Mix]:
    """Plan the mixes around ``bases`` songs for each of ``groups`` seeds; every base song serves once.

    Raises DatasetError when there are too few songs in which all stems sound long enough.
    """
    by_name = {s.name: s for s in songs}
    order = np.random.default_rng(seed).permutation(sorted(by_name))
    fit = [name for name in order if base_windows(by_name[str(name)], seconds)]
    if not fit:
        raise DatasetError(f"in no song do all stems sound for {seconds:g} s", source="songs", stage="mixes")
    chosen = fit[: groups * bases]
    partners = [by_name[str(name)] for name in order if name not in chosen]
    if not chosen or not partners:
        raise DatasetError(f"{len(songs)} songs are too few", source="songs", stage="mixes")
    mixes = []
    for i, name in enumerate(chosen):
        group = i % groups
        rng = np.random.default_rng([seed, group, i])
        mixes += mixes_around(by_name[str(name)], partners, group=group, seconds=seconds, rng=rng)
    return mixes


def base_windows(song: StemSong, seconds: float) -> list[float]:
    """Starts of the window in which its stems sound best, and of the best that does not overlap it, if there is one."""
    if set(song.sounding) != set(STEMS):
        return []
    starts = song.starts(seconds)
    worth = np.array([min(song.coverage(stem, s, seconds) for stem in STEMS) for s in starts])
    fair = worth >= COVERAGE
    if not fair.any():
        return []
    pairs = [
        (worth[i] + worth[j], starts[i], starts[j])
        for i in np.flatnonzero(fair)
        for j in np.flatnonzero(fair)
        if starts[i] >= starts[j] + seconds or starts[j] >= starts[i] + seconds
    ]
    if pairs:
        return [float(s) for s in max(pairs)[1:]]
    return [float(starts[worth.argmax()])]


def mixes_around(
    song: StemSong, partners: Sequence[StemSong], *, group: int, seconds: float, rng: np.random.Generator
) -> list[Mix]:
    """The mixes of one base song; none if its stems do not sound together long enough.

    Raises DatasetError when no partner lends what is needed.
    """
    windows = base_windows(song, seconds)
    if not windows:
        return []
    start = windows[0]
    starts = song.starts(seconds)
    near = [s for s in starts if 0.5 < abs(s - start) < 8.0]
    closest = sorted(near, key=lambda s: abs(s - start))[:2] or [start]

    def own(stem: str, at: float, semitones: float = 0.0) -> StemExcerpt:
        return StemExcerpt(str(song.folder), float(at), gain_db=_gain(rng), semitones=semitones)

    def guests(stems: Sequence[str]) -> dict[str, StemExcerpt]:
        lent: dict[str, StemExcerpt] = {}
        for stem in stems:
            lent[stem] = _guest(song, stem, partners, seconds, rng, taken=[p.song for p in lent.values()])
        return lent

    made: dict[str, dict[str, StemExcerpt]] = {"original": {s: own(s, start) for s in STEMS}}
    for stem in STEMS:
        shifted = float(rng.choice(closest))
        rest = [s for s in STEMS if s != stem]
        made[f"{stem}-shared"] = {stem: own(stem, shifted), **guests(rest)}
        made[f"{stem}-swapped"] = {**{s: own(s, shifted) for s in rest}, **guests([stem])}
    if len(windows) > 1:
        made["excerpt"] = {s: own(s, windows[1]) for s in STEMS}
    steps = float(rng.choice([-3, -2, 2, 3]))
    made["transposed"] = {s: own(s, start, 0.0 if s == "drums" else steps) for s in STEMS}
    label = song.name.replace("/", "-")
    return [Mix(f"{label}.{kind}", group, song.name, kind, made[kind]) for kind in KINDS if kind in made]


def _gain(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(0.0, SPREAD_DB), -2 * SPREAD_DB, 2 * SPREAD_DB))


def _guest(
    base: StemSong,
    stem: str,
    partners: Sequence[StemSong],
    seconds: float,
    rng: np.random.Generator,
    *,
    taken: list[str],
) -> StemExcerpt:
    """A stem of a partner that fits; of the best fitting ones if none fits."""
    fits: list[tuple[float, StemExcerpt]] = []
    for i in rng.permutation(len(partners)):
        other = partners[i]
        if str(other.folder) in taken or stem not in other.sounding:
            continue
        speed, cost = 1.0, 0.0
        if base.bpm and other.bpm:
            speed = base.bpm / other.bpm
            cost = misfit(base, other, pitched=stem != "drums")
        if not 0.5 < speed < 2.0:
            continue
        starts = other.starts(seconds * speed)
        covered = [other.coverage(stem, s, seconds * speed) for s in starts]
        if not covered or max(covered) < COVERAGE:
            continue
        good = starts[np.asarray(covered) >= max(COVERAGE, 0.8 * max(covered))]
        excerpt = StemExcerpt(str(other.folder), float(rng.choice(good)), speed, _gain(rng))
        if cost <= 0:
            return excerpt
        fits.append((cost, excerpt))
    if not fits:
        raise DatasetError(f"no other song lends its {stem}", source=base.name, stage="mixes")
    return min(fits, key=lambda fit: fit[0])[1]


def misfit(base: StemSong, other: StemSong, *, pitched: bool) -> float:
    """0 for a partner that fits when it is played at the tempo of the base; else by how much it does not."""
    assert base.bpm is not None
    assert other.bpm is not None
    shift = 12 * math.log2(base.bpm / other.bpm)
    cost = max(0.0, abs(shift) - _MOST_SEMITONES)
    if not pitched or base.fifths is None or other.fifths is None:
        return cost
    whole = round(shift)
    cost += max(0.0, abs(shift - whole) - _MOST_DETUNED)
    apart = (other.fifths + 7 * whole - base.fifths) % 12
    return cost + max(0.0, min(apart, 12 - apart) - 1)


def write_plan(mixes: Sequence[Mix], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(m) for m in mixes], indent=1, ensure_ascii=False))


def read_plan(path: Path) -> list[Mix]:
    rows = json.loads(path.read_text())
    return [Mix(**{**row, "stems": {s: StemExcerpt(**e) for s, e in row["stems"].items()}}) for row in rows]


def render(mix: Mix, seconds: float) -> dict[str, np.ndarray]:
    """The stems of a mix, mono float32 at 22,050 Hz; the mix is their sum, which stays below full scale."""
    stems = {}
    for stem, excerpt in mix.stems.items():
        y = read_excerpt(Path(excerpt.song), stem, excerpt.start_s, seconds, speed=excerpt.speed)
        if excerpt.semitones:
            librosa = import_librosa()
            y = librosa.effects.pitch_shift(y, sr=ANALYSIS_SAMPLE_RATE, n_steps=excerpt.semitones, res_type="soxr_hq")
        stems[stem] = y * 10 ** ((LEVEL_DB + excerpt.gain_db - _level_db(y)) / 20)
    peak = np.abs(sum(stems.values())).max()
    scale = min(1.0, 0.9 / max(float(peak), 1e-9))
    return {stem: np.asarray(y * scale, np.float32) for stem, y in stems.items()}


def _level_db(y: np.ndarray) -> float:
    step = round(STEP_S * ANALYSIS_SAMPLE_RATE)
    power = (y[: len(y) // step * step].reshape(-1, step) ** 2).mean(axis=1)
    return 10 * math.log10(max(float(np.quantile(power, 0.9)), 1e-9))
