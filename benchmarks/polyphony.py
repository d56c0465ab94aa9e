"""How many notes of the accompaniment are right? On generated songs, beside basic-pitch where it is installed.

    python benchmarks/polyphony.py [FOLDER] [--songs 8] [--seconds 30] [--seed 97000]

Takes the songs of a folder that ``stemfeatures generate`` wrote, or makes some (needs the extras train and evaluate),
and finds the notes of *other*: in the stem that the default network separates from the mixture, and in the true stem. A
note is right whose onset is within 50 ms and whose pitch is within 50 cents (mir_eval.transcription, offsets do not
count). Beside it stands what the network says by itself, whose onsets are not judged by what is around them.
basic-pitch (``pip install basic-pitch onnxruntime``) reads the same waveforms with its default thresholds.
Prints means over the songs that have such notes, and CPU seconds a minute, of all threads: on one core
(``taskset -c 0``) they are those of one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soundfile
import torch

from stemfeatures.audio import load, resample, to_mono
from stemfeatures.constants import ANALYSIS_SAMPLE_RATE, HOP_LENGTH
from stemfeatures.descriptors.note_onsets import likely_onsets
from stemfeatures.descriptors.polyphony import polyphonic_notes
from stemfeatures.frames.polyphony import NoteMeter
from stemfeatures.generator.compose.styles import DRAWN_STYLES
from stemfeatures.generator.song import generate_song
from stemfeatures.models import checkpoints
from stemfeatures.training.data.heard_notes import separated, true_notes

#: Onset and offset in seconds, and frequency in Hz, of each note.
Found = tuple[np.ndarray, np.ndarray]
#: Mixture and true accompaniment (channels, n_samples), their rate, and the true notes.
Song = tuple[np.ndarray, np.ndarray, int, np.ndarray]


def generated(n: int, seed: int, seconds: float) -> Iterator[Song]:
    """Generated songs of all styles in turn."""
    for k in range(n):
        style = DRAWN_STYLES[(5 * k) % len(DRAWN_STYLES)]
        song = generate_song(seed + k, duration_s=seconds, style=style)
        notes = true_notes({"notes": song.truth.notes}, "other")
        yield song.mixture, song.stems["other"], song.truth.sample_rate, notes


def stored(folder: Path) -> Iterator[Song]:
    """Those of a folder."""
    for path in sorted(folder.glob("**/truth.json")):
        mixture, rate = load(path.parent / "mixture.flac")
        stem, _ = load(path.parent / "other.flac")
        yield mixture, stem, rate, true_notes(json.loads(path.read_text()), "other")


def our_notes(y: np.ndarray, *, judged: bool = True) -> Found:
    """Notes of a waveform at 22,050 Hz by the network that ships, as the analysis finds them or by itself."""
    meter = NoteMeter("cpu")
    meter.push_signal(y)
    onset, active, deviation = meter.finish(1 + len(y) // HOP_LENGTH)
    if judged:
        onset = likely_onsets(onset, active)
    found = polyphonic_notes(onset.T, active.T, deviation.T)
    hertz = 440 * 2 ** ((found.pitch + found.cents / 100 - 69) / 12)
    return np.stack([found.onset_s, found.offset_s], axis=1), hertz


@cache
def _basic_pitch() -> Any:
    from basic_pitch import ICASSP_2022_MODEL_PATH
    from basic_pitch.inference import Model

    return Model(ICASSP_2022_MODEL_PATH)


def basic_pitch_notes(y: np.ndarray) -> Found:
    """Those of basic-pitch."""
    from basic_pitch.inference import predict

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "y.wav")
        soundfile.write(path, y, ANALYSIS_SAMPLE_RATE, subtype="FLOAT")
        events = predict(path, _basic_pitch())[2]
    spans = np.array([[start, end] for start, end, *_ in events]).reshape(-1, 2)
    return spans, 440 * 2 ** ((np.array([pitch for _, _, pitch, *_ in events], float) - 69) / 12)


def scores(truth: np.ndarray, found: Found) -> tuple[float, float, float]:
    """Precision, recall and F."""
    spans = np.stack([truth[:, 0], np.maximum(truth[:, 1], truth[:, 0] + 0.01)], axis=1)
    hertz = 440 * 2 ** ((truth[:, 2] - 69) / 12)
    found_spans = np.stack([found[0][:, 0], np.maximum(found[0][:, 1], found[0][:, 0] + 0.01)], axis=1)
    result = mir_eval.transcription.precision_recall_f1_overlap(spans, hertz, found_spans, found[1], offset_ratio=None)
    return result[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="generated songs")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the songs")
    parser.add_argument("--seed", type=int, default=97_000, help="number of the first song")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    network = checkpoints.load_for_inference()
    tools: dict[str, Callable[[np.ndarray], Found]] = {
        "stemfeatures": our_notes,
        "network alone": partial(our_notes, judged=False),
    }
    if find_spec("basic_pitch") is not None:
        tools["basic-pitch"] = basic_pitch_notes
    for tool in tools.values():  # what is loaded once
        tool(np.zeros(ANALYSIS_SAMPLE_RATE, np.float32))
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    cpu, minutes = dict.fromkeys(tools, 0.0), 0.0
    for mixture, stem, rate, truth in stored(args.folder) if args.folder else generated(*_sizes(args)):
        if not len(truth):
            continue
        signals = {
            "separated": separated(network, mixture, rate, ("other",))[0],
            "true stem": resample(to_mono(stem), rate, ANALYSIS_SAMPLE_RATE).astype(np.float32),
        }
        for name, tool in tools.items():
            for which, y in signals.items():
                begun = time.process_time()
                notes = tool(y)
                cpu[name] += time.process_time() - begun
                found.setdefault((name, which), []).append(scores(truth, notes))
        minutes += sum(len(y) for y in signals.values()) / ANALYSIS_SAMPLE_RATE / 60
    row = "{:<16}{:<12}{:>6}{:>11}{:>8}{:>8}".format
    print(row("", "", "songs", "precision", "recall", "F"))
    for (name, which), values in found.items():
        print(row(name, which, len(values), *(f"{v:.3f}" for v in np.mean(values, axis=0))))
    for name, seconds in cpu.items():
        print(f"{name}: {seconds / max(minutes, 1e-9):.2f} CPU s a minute")


def _sizes(args: argparse.Namespace) -> tuple[int, int, float]:
    return args.songs, args.seed, args.seconds


if __name__ == "__main__":
    main()
