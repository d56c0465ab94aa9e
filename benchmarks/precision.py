"""How far the values of a network in bfloat16 are from those in float32, beside what an MP3 of the same audio moves.

    python benchmarks/precision.py [FOLDER|FILE ...] [--kbps 192] [--songs FOLDER] [--columns]

Each file is analysed three times: in float32, in bfloat16, and in float32 after a way through MP3 (ffmpeg, libmp3lame).
By family of columns of table stems, and with ``--columns`` by column: the mean distance from float32 over rows, in
spreads of the column (distance of its quartiles over all rows); for names and whole numbers the share of rows that
changed. A value that is there in one of the two and null in the other is a change, too. Then the same for F0 by frame
and beats, the signal-to-noise ratio of the masked magnitudes, and, with ``--songs``, the SDR of the stems in both.
Table tracks has nothing of the network but ``status``, which is counted with the names.

Without arguments it takes the decodable tracks of catalog_samples/.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import torch

from stemfeatures import audio
from stemfeatures.analysis import Analyser, TrackAnalysis
from stemfeatures.constants import N_BINS, STEMS
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.descriptors.registry import descriptor_fields
from stemfeatures.errors import AudioError
from stemfeatures.evaluation.separation import sdr
from stemfeatures.inference.segments import Frames
from stemfeatures.separation import Separator

SAMPLES = Path(__file__).parent.parent / "catalog_samples"
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus"}
WAYS = ("bfloat16", "mp3")
NUMBERS = ("float32", "float64")


class Masks:
    """Masked magnitudes of one track, joined frame by frame."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []

    def add(self, frames: Frames) -> None:
        self.parts.append((frames.masks * frames.spectrum[:N_BINS].abs()).half())

    def joined(self) -> torch.Tensor:
        return torch.cat(self.parts, dim=-1).float()


class Distances:
    """What was found, by column: pairs of values of rows, in float32 and another way."""

    def __init__(self) -> None:
        self.pairs: dict[str, dict[str, list[tuple[Any, Any]]]] = {way: defaultdict(list) for way in WAYS}
        self.frames: dict[str, dict[str, list[float]]] = {way: defaultdict(list) for way in WAYS}
        self.families = {f.name: f.family for f in descriptor_fields()} | {"status": "track"}
        self.types = {f.name: f.type for f in descriptor_fields()} | {"status": "category"}

    def add(self, way: str, plain: TrackAnalysis, other: TrackAnalysis) -> None:
        """Take a track."""
        self.pairs[way]["status"].append((plain.status, other.status))
        for row, values in plain.stems.items():
            for name in self.types.keys() & values.keys():
                self.pairs[way][name].append((values[name], other.stems[row].get(name)))
        found = self.frames[way]
        for stem, contour in plain.contours.items():
            n = min(len(contour.f0_hz), len(other.contours[stem].f0_hz))
            f0, after = contour.f0_hz[:n], other.contours[stem].f0_hz[:n]
            both = np.isfinite(f0) & np.isfinite(after)
            found[f"{stem}: voiced in both, F0 moved > 50 cents"] += list(
                np.abs(1200 * np.log2(f0[both] / after[both])) > 50
            )
            found[f"{stem}: voiced in one of the two"] += list(np.isfinite(f0) != np.isfinite(after))
        beats = plain.events.beats_s, other.events.beats_s
        if len(beats[0]):
            found["beats missed or added (1 - F)"].append(1 - mir_eval.beat.f_measure(*beats))

    def of(self, way: str, name: str) -> float | None:
        """Distance of a column; None where it is null everywhere, or the same for all rows."""
        pairs = [(a, b) for a, b in self.pairs[way][name] if not (_is_null(a) and _is_null(b))]
        if not pairs:
            return None
        if self.types[name] not in NUMBERS:
            return float(np.mean([a != b for a, b in pairs]))
        known = [a for a, _ in self.pairs[way][name] if not _is_null(a)]
        spread = float(np.subtract(*np.percentile(known, [75, 25]))) if known else 0.0
        if spread <= 0:
            return None
        changes = [1.0 if _is_null(a) or _is_null(b) else abs(b - a) / spread for a, b in pairs]
        return float(np.mean(np.minimum(changes, 1.0)))

    def lost(self, way: str, name: str) -> float:
        """Share of rows in which a value came or went."""
        pairs = [(a, b) for a, b in self.pairs[way][name] if not (_is_null(a) and _is_null(b))]
        return float(np.mean([_is_null(a) != _is_null(b) for a, b in pairs])) if pairs else 0.0


def _is_null(value: Any) -> bool:
    return value is None or value != value


def through_mp3(path: Path, folder: Path, kbps: int) -> Path:
    """The audio of a file as MP3."""
    ffmpeg = audio.decoder_versions()["ffmpeg_path"] or "ffmpeg"
    coded = folder / "coded.mp3"
    command = [ffmpeg, "-v", "error", "-y", "-i", str(path), "-map", "0:a:0", "-c:a", "libmp3lame", "-b:a", f"{kbps}k"]
    subprocess.run([*command, str(coded)], check=True)
    return coded


def analysed(analyser: Analyser, path: Path) -> tuple[TrackAnalysis, torch.Tensor]:
    """A file, and its masked magnitudes ``(4, N_BINS, n_frames)``."""
    masks = Masks()
    with audio.open_audio(path) as stream:
        return analyser.from_stream(stream, on_frames=masks.add), masks.joined()


def files_of(places: Iterable[Path]) -> list[Path]:
    """Songs (their mixtures), clips and single files."""
    found: list[Path] = []
    for place in places:
        inside = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in SUFFIXES)
        songs = {p.parent for p in inside if p.stem == "mixture"}
        found += [p for p in inside if "truth" not in p.parts and (p.parent not in songs or p.stem == "mixture")]
    return found


def snr_db(plain: torch.Tensor, other: torch.Tensor) -> list[float]:
    """Of each stem; infinite where both are the same."""
    noise = (plain - other).square().sum(dim=(1, 2))
    return (10 * torch.log10(plain.square().sum(dim=(1, 2)) / noise)).tolist()


def separation(songs: Path) -> None:
    """SDR of the stems of songs in both precisions, and by how much they differ at most."""
    scores: dict[str, dict[str, list[float]]] = {p: defaultdict(list) for p in ("float32", "bfloat16")}
    for precision, of in scores.items():
        separator = Separator(precision=precision)
        for track in find_tracks(songs):
            y, rate = track.audio("mixture")
            estimates = separator.separate_array(y, rate)
            for stem in STEMS:
                if stem in track.stem_names:
                    of[stem].append(sdr(track.audio(stem)[0], estimates[stem]))
    print(f"\n{'SDR, dB':<10}{'float32':>10}{'bfloat16':>10}{'largest change':>16}  songs")
    for stem, plain in scores["float32"].items():
        other = scores["bfloat16"][stem]
        change = np.max(np.abs(np.subtract(plain, other)))
        print(f"{stem:<10}{np.mean(plain):10.3f}{np.mean(other):10.3f}{change:16.4f}  {len(plain)}")


def show(distances: Distances, *, columns: bool) -> None:
    """Print what was found."""
    found = {name: [distances.of(way, name) for way in WAYS] for name in distances.types}
    known = {name: [v for v in values if v is not None] for name, values in found.items() if None not in values}
    families: dict[str, list[str]] = defaultdict(list)
    for name in known:
        number = distances.types[name] in NUMBERS
        families[f"{distances.families[name]}, {'numbers' if number else 'names, counts'}"].append(name)
    print(f"{'mean over columns':<34}{'columns':>8}{'bfloat16':>10}{'mp3':>10}{'ratio':>8}  nearer than mp3")
    for family in sorted(families):
        some = np.array([known[name] for name in families[family]])
        means = some.mean(axis=0)
        nearer = int((some[:, 0] <= some[:, 1]).sum())
        ratio = f"{means[0] / means[1]:8.2f}" if means[1] else f"{'-':>8}"
        print(f"{family:<34}{len(some):>8}{means[0]:10.4f}{means[1]:10.4f}{ratio}  {nearer}")
    further = sorted((name for name, (b, m) in known.items() if b > m), key=lambda n: known[n][1] - known[n][0])
    print(f"\n{len(further)} of {len(known)} columns are further from float32 than MP3 takes them:")
    for name in sorted(known) if columns else further[:25]:
        lost = " ".join(f"{distances.lost(way, name):.4f}" for way in WAYS)
        print(f"  {name:<44}{known[name][0]:10.5f}{known[name][1]:10.5f}   null in one: {lost}")
    print()
    for name, of in distances.frames["bfloat16"].items():
        other = distances.frames["mp3"][name]
        print(f"{name:<52}{np.mean(of):10.5f}{np.mean(other):10.5f}  of {len(of)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", type=Path, default=[SAMPLES])
    parser.add_argument("--kbps", type=int, default=192)
    parser.add_argument("--songs", type=Path, help="songs with stems, to compare the separation")
    parser.add_argument("--columns", action="store_true", help="print all columns")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    plain, reduced = (Analyser(precision=precision) for precision in ("float32", "bfloat16"))
    distances, ratios, n = Distances(), defaultdict(list), 0
    with tempfile.TemporaryDirectory() as folder:
        for path in files_of(args.places or [SAMPLES]):
            try:
                one, masks = analysed(plain, path)
            except AudioError:
                continue
            two, others = analysed(reduced, path)
            coded, coded_masks = analysed(plain, through_mp3(path, Path(folder), args.kbps))
            distances.add("bfloat16", one, two)
            distances.add("mp3", one, coded)
            n, frames = n + 1, min(masks.shape[-1], coded_masks.shape[-1])
            for stem, a, b in zip(STEMS, snr_db(masks, others), snr_db(masks[..., :frames], coded_masks[..., :frames])):
                ratios[stem].append((a, b))
    print(f"{n} files\n")
    show(distances, columns=args.columns)
    print(f"\n{'masked magnitudes, SNR in dB':<34}{'bfloat16: median (least)':>26}{'mp3':>18}")
    for stem, values in ratios.items():
        heard = np.array([v for v in values if np.all(np.isfinite(v))])
        if len(heard):
            medians, least = np.median(heard, axis=0), heard.min(axis=0)
            cells = [f"{m:.1f} ({low:.1f})" for m, low in zip(medians, least)]
            print(f"{stem:<34}{cells[0]:>26}{cells[1]:>18}")
    if args.songs is not None:
        separation(args.songs)


if __name__ == "__main__":
    main()
