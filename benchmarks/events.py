"""How good are chords, notes and sections? On generated songs, whose truth is exact, beside librosa.

    python benchmarks/events.py [--songs 8] [--seconds 60] [--seed 93000]

Generates songs (needs the train extra), analyses the mixtures, and prints mir_eval's figures, means over the songs:

* chords: share of the time on which root, major or minor third, MIREX (three common tones) and sevenths agree, and the
  segmentation. librosa: CQT chroma on its beats, 24 triads, Viterbi.
* sections: boundaries within 0.5 and 3 s (F), and pairs of frames of one part (F). librosa: agglomerative clustering of
  chroma and MFCC on its beats into the number of sections that our own list has.
* names of sections: of the time of sections in which somebody sings for a third and more, the share that is not named
  (intro, instrumental, outro), of that of sections without a voice, in songs that have one, the share that is.
* notes of vocals and bass: onsets within 50 ms and pitch within 50 cents (F), without and with offsets.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import librosa
import mir_eval
import numpy as np

from stemfeatures.analysis import Analyser
from stemfeatures.constants import PITCHED_STEMS
from stemfeatures.descriptors.event_tables import Columns
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import generate_song
from stemfeatures.generator.truth import Truth

#: Sample rate of librosa's defaults, and its hop.
RATE, HOP = 22_050, 512
CHORD_METRICS = ("root", "majmin", "mirex", "sevenths")
#: Share of a section that is sung from which on it counts as sung.
SUNG = 1 / 3
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

Labelled = tuple[np.ndarray, list[str]]


def labelled(events: Columns, label: str = "label") -> Labelled:
    """Intervals and labels of a table."""
    return np.stack([events["start_s"], events["end_s"]], axis=1), list(events[label])


def true_labels(events: list[dict[str, Any]]) -> Labelled:
    return np.array([[e["start_s"], e["end_s"]] for e in events]), [e["label"] for e in events]


def chord_scores(truth: Labelled, estimate: Labelled) -> dict[str, float]:
    """mir_eval's figures over the time that the truth covers."""
    intervals, labels = mir_eval.util.adjust_intervals(*estimate, truth[0].min(), truth[0].max(), "N", "N")
    merged, true, found = mir_eval.util.merge_labeled_intervals(*truth, intervals, labels)
    lengths = mir_eval.util.intervals_to_durations(merged)
    scores = {m: getattr(mir_eval.chord, m)(true, found) for m in CHORD_METRICS}
    return {
        # Where the vocabulary of a metric has none of the true chords, it says nothing.
        **{m: mir_eval.chord.weighted_accuracy(score, lengths) for m, score in scores.items() if (score >= 0).any()},
        "segmentation": mir_eval.chord.seg(truth[0], intervals),
    }


def section_scores(truth: Labelled, estimate: Labelled) -> dict[str, float]:
    intervals, labels = mir_eval.util.adjust_intervals(*estimate, truth[0].min(), truth[0].max(), "-", "-")
    boundaries = {
        f"boundaries {w:g} s": mir_eval.segment.detection(truth[0], intervals, window=w, trim=True)[2]
        for w in (0.5, 3.0)
    }
    start = truth[0].min()  # pairwise wants times from 0
    truth, intervals = (truth[0] - start, truth[1]), intervals - start
    return {**boundaries, "pairs": mir_eval.segment.pairwise(*truth, intervals, labels)[2]}


def name_scores(truth: Truth, sections: Columns) -> dict[str, float]:
    """Of the time of sung sections that without a name, of the time of the others that with one."""
    step = 0.1
    times = np.arange(step / 2, truth.sections[-1]["end_s"], step)

    def covered(events: list[tuple[float, float]]) -> np.ndarray:
        return np.any(
            [(times >= start) & (times < end) for start, end in events] or [np.zeros(len(times), bool)], axis=0
        )

    voice = covered([(n["start_s"], n["end_s"]) for n in truth.notes["vocals"]])
    spans = zip(sections["start_s"], sections["end_s"], sections["name"])
    named = covered([(start, end) for start, end, name in spans if name is not None])
    sung, unsung = np.zeros((2, len(times)), bool)
    for section in truth.sections:
        inside = covered([(section["start_s"], section["end_s"])])
        if inside.any():
            sung |= inside & (voice[inside].mean() >= SUNG)
            unsung |= inside & ~voice[inside].any()
    if not sung.any():
        return {}
    return {"sung, no name": float((~named)[sung].mean())} | (
        {"without a voice, named": float(named[unsung].mean())} if unsung.any() else {}
    )


def note_scores(truth: list[dict[str, float]], events: Columns, stem: str) -> dict[str, float]:
    of = np.array([s == stem for s in events["stem"]], dtype=bool)
    spans = np.stack([events["onset_s"], events["offset_s"]], axis=1)[of].reshape(-1, 2)
    true = np.array([[n["start_s"], max(n["end_s"], n["start_s"] + 0.01)] for n in truth]).reshape(-1, 2)
    pitch = 440 * 2 ** ((np.array([n["midi"] for n in truth]) - 69) / 12)
    found = np.asarray(events["frequency_hz"])[of]
    scores = {}
    for name, ratio in (("onset and pitch", None), ("with offset", 0.2)):
        f = mir_eval.transcription.precision_recall_f1_overlap(true, pitch, spans, found, offset_ratio=ratio)[2]
        scores[f"{stem}: {name}"] = f
    scores[f"{stem}: onset"] = mir_eval.transcription.onset_precision_recall_f1(true, spans)[2]
    return scores


def librosa_beats(y: np.ndarray) -> np.ndarray:
    frames = librosa.beat.beat_track(y=y, sr=RATE, hop_length=HOP)[1]
    return librosa.util.fix_frames(frames, x_min=0, x_max=1 + len(y) // HOP)


def librosa_chords(y: np.ndarray, beats: np.ndarray) -> Labelled:
    """Triads by templates on beat-synchronous chroma, smoothed by Viterbi.

    There is none for no chord: a flat one fits the dense chroma of a mixture better than any triad.
    """
    chroma = librosa.util.sync(
        librosa.feature.chroma_cqt(y=y, sr=RATE, hop_length=HOP), beats.tolist(), aggregate=np.median
    )
    triads = [np.isin(np.arange(12), tones).astype(float) for tones in ((0, 4, 7), (0, 3, 7))]
    templates = np.array([np.roll(t, root) for t in triads for root in range(12)])
    similar = librosa.util.normalize(templates, norm=2, axis=1) @ librosa.util.normalize(chroma, norm=2, axis=0)
    odds = np.exp(10 * similar)
    path = librosa.sequence.viterbi_discriminative(odds / odds.sum(axis=0), librosa.sequence.transition_loop(24, 0.9))
    labels = [f"{name}:{quality}" for quality in ("maj", "min") for name in NAMES]
    times = librosa.frames_to_time(beats, sr=RATE, hop_length=HOP)
    return np.stack([times[:-1], times[1:]], axis=1), [labels[k] for k in path[: len(times) - 1]]


def librosa_sections(y: np.ndarray, beats: np.ndarray, n_sections: int) -> Labelled:
    """Agglomerative segmentation; each segment a part of its own."""
    mfcc = librosa.feature.mfcc(y=y, sr=RATE, hop_length=HOP)
    chroma = librosa.feature.chroma_cqt(y=y, sr=RATE, hop_length=HOP)
    scaled = [f / f.std() for f in (mfcc, chroma)]
    data = librosa.util.sync(np.concatenate(scaled), beats.tolist())
    first = librosa.segment.agglomerative(data, min(n_sections, data.shape[1]))
    times = librosa.frames_to_time(beats, sr=RATE, hop_length=HOP)
    edges = np.append(times[first], len(y) / RATE)
    return np.stack([edges[:-1], edges[1:]], axis=1), [str(k) for k in range(len(first))]


def score_song(mixture: np.ndarray, truth: Truth, tables: dict[str, Columns]) -> dict[tuple[str, str], float]:
    """Scores by what is scored and by whom."""
    y = librosa.resample(mixture.mean(axis=0), orig_sr=truth.sample_rate, target_sr=RATE)
    beats = librosa_beats(y)
    chords, sections = true_labels(truth.chords), true_labels(truth.sections)
    n_sections = len(tables["sections"]["label"])
    scored: dict[str, dict[str, dict[str, float]]] = {
        "chords": {
            "stemfeatures": chord_scores(chords, labelled(tables["chords"])),
            "librosa": chord_scores(chords, librosa_chords(y, beats)),
        },
        "notes": {
            "stemfeatures": {
                name: value
                for stem in PITCHED_STEMS
                if truth.notes[stem]
                for name, value in note_scores(truth.notes[stem], tables["notes"], stem).items()
            }
        },
    }
    if n_sections and len(sections[1]) > 1:
        scored["sections"] = {
            "stemfeatures": section_scores(sections, labelled(tables["sections"])),
            "librosa": section_scores(sections, librosa_sections(y, beats, n_sections)),
        }
        scored["names"] = {"stemfeatures": name_scores(truth, tables["sections"])}
    return {
        (f"{what}, {name}", who): value
        for what, by in scored.items()
        for who, values in by.items()
        for name, value in values.items()
    }


def songs(n: int, seed: int, seconds: float) -> Iterator[tuple[np.ndarray, Truth]]:
    """Generated songs of all styles in turn."""
    styles = DRAWN_STYLES
    for k in range(n):
        song = generate_song(seed + k, duration_s=seconds, style=styles[(5 * k) % len(styles)])
        yield song.mixture, song.truth


def table_text(scores: list[dict[tuple[str, str], float]]) -> str:
    """Means over the songs, a row a figure, with how many songs have it."""
    names = list(dict.fromkeys(name for score in scores for name, _ in score))
    row: Callable[..., str] = "{:<34}{:>14}{:>10}{:>7}".format
    lines = [row("mean of the songs", "stemfeatures", "librosa", "songs")]
    for name in sorted(names):
        values = {who: [s[name, who] for s in scores if (name, who) in s] for who in ("stemfeatures", "librosa")}
        shown = [f"{np.mean(v):.3f}" if v else "-" for v in values.values()]
        lines.append(row(name, *shown, len(values["stemfeatures"])))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=93_000, help="number of the first song")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    analyser = Analyser()
    scores = []
    for mixture, truth in songs(args.songs, args.seed, args.seconds):
        tables = analyser.from_audio(mixture, truth.sample_rate).tables
        scores.append(score_song(mixture, truth, dict(tables)))
        print(f"{len(scores)} of {args.songs}: {truth.choices['style']}", flush=True)
    print(table_text(scores))


if __name__ == "__main__":
    main()
