"""Recordings decoded once, with class, pitch and F0, to a bank of sounds."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterable
from operator import call
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..._util.numba_cache import import_librosa
from ..._util.pools import starmap
from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH
from ...datasets.sound_names import drum_role, note_name_to_midi
from ...errors import AudioError, DatasetError, WorkerError
from .bank import Sound, logger
from .held_out import matches

NOTE_CLASSES = ("bass", "guitar", "keys", "other")


def pyin_f0(y: np.ndarray, *, fmin: float, fmax: float, frame_length: int = 2048) -> np.ndarray:
    """pYIN F0 on the analysis grid: Hz, 0 where clearly unvoiced, NaN where the decision is weak."""
    librosa = import_librosa()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f0, voiced, probability = librosa.pyin(
            y, sr=SR, fmin=fmin, fmax=fmax, frame_length=frame_length, hop_length=HOP_LENGTH, resolution=0.2
        )
    n = 1 + len(y) // HOP_LENGTH
    out = np.where(voiced, np.nan_to_num(f0), 0.0)[:n]
    power = np.square(y)
    energy = np.array([power[max(0, k * HOP_LENGTH - 1024) : k * HOP_LENGTH + 1024].mean() for k in range(n)])
    loud = energy > 1e-4 * max(energy.max(initial=0), 1e-12)
    probability = probability[:n]
    unsure = loud & np.where(voiced[:n], probability < 0.15, probability > 0.02)
    out = np.where(loud, out, 0.0)
    return np.where(unsure, np.nan, out).astype(np.float32)


def _read(path: Path) -> np.ndarray:
    from ...audio import load

    y, _ = load(path, sample_rate=SR, mono=True)
    return y


def _performance_f0(y: np.ndarray, kind: str) -> np.ndarray:
    if kind == "bass":
        return pyin_f0(y, fmin=30.0, fmax=420.0, frame_length=4096)
    return pyin_f0(y, fmin=65.0, fmax=1300.0)


def _note_pitch(y: np.ndarray, kind: str) -> float:
    """Median F0 of a note after its attack, NaN when fewer than five frames are voiced."""
    middle = y[int(0.05 * SR) : int(1.6 * SR)]
    if len(middle) < 8192:
        middle = y
    low = kind in ("bass",)
    f0 = pyin_f0(middle, fmin=27.5, fmax=600.0 if low else 2200.0, frame_length=4096)
    voiced = f0[np.nan_to_num(f0) > 0]
    return float(np.median(voiced)) if len(voiced) >= 5 else float("nan")


def analyse_recording(root: str, entry: dict) -> Sound | None:
    """Decode one entry of ``index.csv`` and measure what training needs of it."""
    path, kind = entry["path"], entry["class"]
    y = _read(Path(root) / path)
    folder = path.split("/")[0]
    row = {"path": path, "class": kind, "source": entry["source"], "licence": entry["licence"]}
    row |= {"kind": "", "role": "", "song": "", "pitch_hz": float("nan"), "named_midi": -1, "octave_known": False}
    f0 = None
    if folder == "performances":
        row |= {"kind": "performance", "song": path.split("/")[1]}
        if kind in ("vocals", "bass"):
            f0 = _performance_f0(y, kind)
    elif kind == "vocals":
        row["kind"] = "phrase"
        f0 = _performance_f0(y, kind)
    elif kind == "drums":
        role = drum_role(Path(path).name)
        row |= {"kind": "loop" if role == "loop" else "hit", "role": role}
    elif kind in NOTE_CLASSES:
        row["kind"] = "note"
        named = note_name_to_midi(Path(path).name)
        noise = any(w in path.lower() for w in ("release", "_rel_", "noise", "scrape", "perc", "mute", "fingering"))
        if named is None or noise:
            return None
        row |= {"named_midi": named[0], "octave_known": named[1], "pitch_hz": _note_pitch(y, kind)}
    if not np.any(np.abs(y) > 1e-3):
        return None
    return Sound(row, y, f0)


def settle_note_pitches(rows: list[dict]) -> list[dict]:
    """Fold measured note pitches into the octave their names give; drop notes that contradict their name."""
    table = pd.DataFrame(rows)
    notes = table[table["kind"] == "note"]
    keep = np.ones(len(table), bool)
    for _, group in notes.groupby("source"):
        measured = 69 + 12 * np.log2(group["pitch_hz"] / 440.0)
        difference = measured - group["named_midi"]
        octaves = np.round(difference[group["octave_known"] & difference.notna()] / 12)
        offset = 12 * float(octaves.median()) if len(octaves) else 0.0
        for index, row in group.iterrows():
            value, named = measured[index], row["named_midi"]
            if row["octave_known"]:
                value = named + offset + (value - named - offset + 6) % 12 - 6
                wrong = abs(value - named - offset) > 0.6
            else:
                wrong = abs((value - named + 6) % 12 - 6) > 0.6
            keep[table.index.get_loc(index)] = bool(np.isfinite(value)) and not wrong
            table.loc[index, "pitch_hz"] = 440.0 * 2 ** ((value - 69) / 12) if np.isfinite(value) else np.nan
    table["keep"] = keep
    return table.to_dict("records")


def build_bank(
    data_dir: str | Path,
    out_dir: str | Path,
    *,
    held_out: Iterable[str] = (),
    renditions: int = 3,
    jobs: int = 2,
    seed: int = 0,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> Path:
    """Build a bank and return its folder.

    Parameters
    ----------
    data_dir : str | Path
        Folder with ``index.csv``.
    held_out : Iterable[str], default=()
        Glob patterns of paths that are left out.
    renditions : int, default=3
        How often every line of the voice bank is sung, each time on another melody.
    jobs : int, default=2
        Processes; with several, a script must make the call under ``if __name__ == "__main__":``.
    progress : Callable[[Iterable, int], Iterable], optional
        Goes between the results and their use, given how many there will be.

    Raises
    ------
    DatasetError
        When there is no ``index.csv`` or nothing is left of it.
    """
    from .singing import sing_bank_file

    data_dir, out_dir, held_out = Path(data_dir), Path(out_dir), list(held_out)
    index = data_dir / "index.csv"
    if not index.is_file():
        raise DatasetError("no index.csv (path, class, source, licence, seconds)", source=str(data_dir), stage="bank")
    with index.open(newline="", encoding="utf-8") as handle:
        entries = [
            e for e in csv.DictReader(handle) if not matches(e["path"], held_out) and not e["path"].endswith("npz")
        ]
    singers = [
        p for p in sorted(data_dir.glob("vocals/singbank/*.npz")) if not matches(str(p.relative_to(data_dir)), held_out)
    ]
    if not entries:
        raise DatasetError("index.csv lists nothing to use", source=str(data_dir), stage="bank")
    entries.sort(key=lambda e: -float(e["seconds"]))
    work: list[tuple] = [(sing_bank_file, str(p), str(data_dir), renditions, seed) for p in singers]
    work += [(analyse_recording, str(data_dir), entry) for entry in entries]
    made: Iterable = starmap(call, work, jobs=jobs, stage="bank", name=_name, catch=(AudioError, WorkerError))
    sounds: list[Sound] = []
    for result in progress(made, len(work)) if progress is not None else made:
        if isinstance(result, Exception):
            logger.warning("left out of the bank: %s", result)
        else:
            sounds += result if isinstance(result, list) else [result] if result is not None else []
    return write_bank(sounds, out_dir)


def _name(function: Callable, path: str, *rest: Any) -> str:
    """What messages call a piece of the work."""
    return str(Path(path, rest[0]["path"])) if function is analyse_recording else path


def write_bank(sounds: list[Sound], out_dir: str | Path) -> Path:
    """Store sounds as the three files of a bank."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    rows = settle_note_pitches([s.row for s in sounds])
    kept = [(s, r) for s, r in zip(sounds, rows) if r.pop("keep")]
    kept.sort(key=lambda pair: (pair[1]["path"], pair[1]["role"]))
    total = sum(len(s.samples) for s, _ in kept)
    audio = np.lib.format.open_memmap(out_dir / "audio.npy", "w+", np.int16, (total,))
    f0_parts, start, f0_start = [], 0, 0
    for sound, row in kept:
        n = len(sound.samples)
        peak = float(np.abs(sound.samples).max())
        scale = max(peak, 1e-6)
        audio[start : start + n] = np.round(sound.samples / scale * 32000).astype(np.int16)
        row |= {"start": start, "length": n, "scale": scale / 32000}
        row |= {"f0_start": -1, "f0_length": 0}
        if sound.f0 is not None:
            row |= {"f0_start": f0_start, "f0_length": len(sound.f0)}
            f0_parts.append(sound.f0.astype(np.float32))
            f0_start += len(sound.f0)
        start += n
    audio.flush()
    np.save(out_dir / "f0.npy", np.concatenate(f0_parts) if f0_parts else np.zeros(0, np.float32))
    pd.DataFrame([r for _, r in kept]).to_parquet(out_dir / "sounds.parquet")
    return out_dir
