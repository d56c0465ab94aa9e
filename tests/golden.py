"""Values of fixed inputs, kept in data/golden_values.json, that only a new ANALYSIS_VERSION may change.

    python tests/golden.py          # writes the file anew; refuses while values differ under the same version

Two inputs: frames of a song with known stems, through the descriptors; and a stereo signal at 44.1 kHz through all of
the analysis, with a small network whose weights are numbers of a fixed generator.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import TINY
from test_descriptors import song_frames

from stemfeatures.analysis import ANALYSIS_VERSION, Analyser
from stemfeatures.descriptors import describe
from stemfeatures.descriptors.registry import descriptor_fields
from stemfeatures.models import checkpoints
from stemfeatures.models.joint import JointNet

FILE = Path(__file__).parent / "data" / "golden_values.json"
#: What a network of random weights leaves stable to the last digits but a few.
CONTINUOUS = ("activity", "timbre", "loudness")


def described_frames() -> dict[str, dict[str, Any]]:
    """Every descriptor of frames whose stems, F0 and beats are known."""
    description = describe(song_frames())
    events = {
        "beats_s": description.events.beats_s.tolist(),
        "beat_positions": description.events.beat_positions.tolist(),
        **{f"onsets_s {row}": times.tolist() for row, times in description.events.onsets_s.items()},
    }
    contours = {stem: float(np.nansum(contour.f0_hz)) for stem, contour in description.contours.items()}
    tables = {
        name: {column: np.asarray(values).tolist() for column, values in columns.items()}
        for name, columns in description.tables.items()
    }
    return {**description.stems, "events": events, "contours": contours, "tables": tables}


def analysed_audio() -> dict[str, dict[str, Any]]:
    """Descriptors of a signal that goes through resampling, spectra, network, masks and frames."""
    rng = np.random.default_rng(7)
    net = JointNet(TINY).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape)) / math.sqrt(fan_in)))
    t = np.arange(5 * 44_100) / 44_100
    left = sum(0.1 * np.sin(2 * np.pi * f * t) for f in (98.0, 392.5, 1568.0)) * (t < 4.2)
    right = 0.3 * rng.standard_normal(len(t)) * np.exp(-((t * 2) % 1) * 20)
    # Without a floor the valleys between the tones are what the FFT of a processor rounds to.
    left, right = (channel + 1e-4 * rng.standard_normal(len(t)) for channel in (left, right))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "golden.safetensors"
        checkpoints.save(net, path, {"licence": "test", "description": "fixed weights"})
        result = Analyser(path).from_audio(np.stack([left, right]).astype(np.float32), 44_100)
    names = [f.name for f in descriptor_fields() if f.family in CONTINUOUS]
    return {row: {name: values[name] for name in names} for row, values in result.stems.items()}


def current() -> dict[str, Any]:
    """The values as the code computes them now."""
    return {"analysis_version": ANALYSIS_VERSION, "frames": described_frames(), "audio": analysed_audio()}


def differences(kept: Any, now: Any, where: str = "") -> list[str]:
    """Where two nested values differ, beyond what processors and libraries make of one sum; new keys do not count."""
    if isinstance(kept, dict) and isinstance(now, dict):
        gone = [f"{where}/{key} is gone" for key in kept if key not in now]
        return gone + [d for key in kept if key in now for d in differences(kept[key], now[key], f"{where}/{key}")]
    if isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        return [d for i, (a, b) in enumerate(zip(kept, now)) for d in differences(a, b, f"{where}[{i}]")]
    if isinstance(kept, float) and isinstance(now, (int, float)):
        return [] if math.isclose(kept, now, rel_tol=1e-3, abs_tol=1e-4) else [f"{where}: {kept} -> {now}"]
    return [] if kept == now else [f"{where}: {kept} -> {now}"]


def main() -> None:
    """Write the file; exit with a message when the version was forgotten."""
    now = current()
    if FILE.exists():
        kept = json.loads(FILE.read_text("utf-8"))
        changed = differences(kept, now)
        if changed and kept["analysis_version"] == ANALYSIS_VERSION:
            text = "\n".join(changed[:20])
            raise SystemExit(f"values have changed; raise ANALYSIS_VERSION in stemfeatures/analysis.py:\n{text}")
    FILE.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
