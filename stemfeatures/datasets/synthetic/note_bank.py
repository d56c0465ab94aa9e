"""A bank of recorded notes on disk, made once from SoundFonts and folders of one-shots.

::

    <bank>/bank.json             version and what the bank was made of
    <bank>/<instrument>.json     family, samples (start, length, gain, pitch in Hz or drum role, velocity)
    <bank>/<instrument>.npy      int16 mono at 44.1 kHz, the samples one after the other

The pitch of every note is measured, since samples are often some cents off and the truth must be exact.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import DatasetError
from .composer import BASS_HIGH, BASS_LOW, DRUM_KEYS
from .synths import SR, SUSTAINED, midi_to_hz

VERSION = 1
#: Where distributions put SoundFonts.
SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
DRUM_FAMILIES = ("acoustic_kit", "electronic_kit")

#: General MIDI programs (from 0) by family.
GM_PROGRAMS = {
    "piano": (0, 1, 3), "epiano": (4, 5), "clavinet": (7,), "mallet": (9, 12, 13), "vibraphone": (11,),
    "organ": (16, 17, 18), "accordion": (21, 22), "nylon_guitar": (24,), "acoustic_guitar": (25,),
    "jazz_guitar": (26,), "clean_guitar": (27, 28), "electric_guitar": (27, 29, 30), "double_bass": (32,),
    "electric_bass": (33, 34, 35, 36), "synth_bass": (38, 39), "fiddle": (40,), "strings": (48, 49, 50),
    "brass": (56, 57, 61), "winds": (65, 66, 68, 71, 73), "synth_lead": (80, 81, 87), "pad": (52, 88, 89, 90),
}  # fmt: skip
_GM_KITS = {"acoustic_kit": (0, 8, 16, 32, 40), "electronic_kit": (24, 25)}
_NOISES = ("release", "_rel_", "noise", "scrape", "perc", "mute", "fingering")
#: Family of an instrument of a notes folder by words in its name, else by its class.
_FAMILY_WORDS = (
    ("meat", "double_bass"), ("double", "double_bass"), ("upright-piano", "piano"), ("epiano", "epiano"),
    ("rhodes", "epiano"), ("organ", "organ"), ("spanish", "nylon_guitar"), ("nylon", "nylon_guitar"),
    ("acoustic", "acoustic_guitar"), ("emily", "acoustic_guitar"),
)  # fmt: skip
_CLASS_FAMILIES = {"bass": "electric_bass", "guitar": "clean_guitar", "keys": "piano", "other": "winds"}
#: Roles of :func:`stemfeatures.training.bank.drum_role` in our words.
_ROLES = {"tom": "tom_mid", "perc": "cowbell"}


@dataclass
class SampleEntry:
    """One sample. ``hertz``: measured F0, 0 for drums; ``role``: drum role, empty for notes; ``velocity``: 0..1."""

    start: int
    length: int
    gain: float
    hertz: float
    role: str
    velocity: float


def measure_pitch(y: np.ndarray, guess_hz: float) -> tuple[float, float]:
    """``(hertz, strength 0..1)`` of a steady note within a semitone of ``guess_hz``, by autocorrelation.

    The period is refined at up to eight periods' distance, so the error is a fraction of a cent on steady notes.
    Strength below about 0.5 means: no such pitch.
    """
    part = y[int(0.1 * SR) : int(0.1 * SR) + 32768].astype(np.float64)
    if len(part) < 6 * SR / guess_hz:
        part = y.astype(np.float64)
    n = len(part)
    if n < 3 * SR / guess_hz or not np.any(part):
        return guess_hz, 0.0
    part = part - part.mean()
    spectrum = np.fft.rfft(part, 2 * n)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    correlation /= correlation[0] * (1 - np.arange(n) / n) + 1e-12
    period, strength = SR / guess_hz, 0.0
    for multiple in (1, 2, 4, 8):
        width = 0.06 * period if multiple == 1 else 0.25 * period / multiple * 2
        low, high = int(multiple * period - width), int(multiple * period + width) + 2
        if high + 1 >= 0.7 * n or low < 1:
            break
        k = low + int(np.argmax(correlation[low:high]))
        a, b, c = correlation[k - 1 : k + 2]
        curvature = a - 2 * b + c
        offset = 0.5 * (a - c) / curvature if curvature < 0 else 0.0
        period = (k + float(np.clip(offset, -1, 1))) / multiple
        strength = max(strength, float(b)) if multiple == 1 else strength
    return SR / period, strength


def find_soundfonts() -> list[Path]:
    """The SoundFonts of this machine, each once, sorted by name."""
    found = {
        path.resolve()
        for folder in SOUNDFONT_FOLDERS
        if Path(folder).is_dir()
        for path in Path(folder).iterdir()
        if path.suffix.lower() in (".sf2", ".sf3")
    }
    return sorted(found, key=lambda p: p.name)


def build_note_bank(
    out_dir: str | Path,
    *,
    soundfonts: Iterable[str | Path] = (),
    notes_dir: str | Path | None = None,
    jobs: int = 1,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> Path:
    """Render the notes of SoundFonts and read a folder of one-shots; returns ``out_dir``.

    Parameters
    ----------
    soundfonts : General MIDI ``.sf2`` or ``.sf3`` files; rendered by the ``fluidsynth`` program.
    notes_dir : a folder ``{bass,drums,guitar,keys,other}/<instrument>/*`` of one-shots with the pitch in their names.

    Raises
    ------
    DatasetError : nothing to build from, no ``fluidsynth``, a file that cannot be used.
    """
    out_dir, fonts = Path(out_dir), [Path(s) for s in soundfonts]
    tasks: list[tuple] = []
    if fonts and shutil.which("fluidsynth") is None:
        raise DatasetError("the program fluidsynth is needed to render SoundFonts", source=str(out_dir), stage="bank")
    for font in fonts:
        if not font.is_file():
            raise DatasetError("no such SoundFont", source=str(font), stage="bank")
        tasks += [(_render_program, out_dir, font, f, p) for f, programs in GM_PROGRAMS.items() for p in programs]
        tasks += [(_render_kit, out_dir, font, f, p) for f, programs in _GM_KITS.items() for p in programs]
    if notes_dir is not None:
        folders = sorted(p for p in Path(notes_dir).glob("*/*") if p.is_dir())
        if not folders:
            raise DatasetError("no folders {bass,drums,...}/<instrument>", source=str(notes_dir), stage="bank")
        tasks += [(_read_folder, out_dir, folder) for folder in folders]
    if not tasks:
        raise DatasetError("no SoundFont and no folder of notes to build from", source=str(out_dir), stage="bank")
    out_dir.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(*task) for task in tasks]
        names = [n for f in (progress(futures, len(futures)) if progress else futures) for n in f.result()]
    made_of = {"soundfonts": [f.name for f in fonts], "notes": Path(notes_dir).name if notes_dir else None}
    text = json.dumps({"version": VERSION, **made_of, "instruments": sorted(names)}, indent=1)
    _replace(out_dir / "bank.json", text.encode())
    return out_dir


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def _store(out_dir: Path, name: str, family: str, samples: list[tuple[np.ndarray, float, str, float]]) -> list[str]:
    """Write one instrument of (samples, hertz, role, velocity); [name], or [] when there is too little of it."""
    entries, pieces, start = [], [], 0
    for y, hertz, role, velocity in samples:
        y = _trimmed(y)
        if not len(y):
            continue
        gain = float(np.abs(y).max())
        pieces.append(np.round(y / gain * 32000).astype(np.int16))
        entries.append(SampleEntry(start, len(y), gain / 32000, hertz, role, velocity))
        start += len(y)
    roles = {e.role for e in entries}
    pitches = {round(12 * np.log2(e.hertz / 440)) for e in entries if e.hertz}
    if not entries or (family in DRUM_FAMILIES and not roles) or (family not in DRUM_FAMILIES and len(pitches) < 4):
        return []
    partial = out_dir / f".{name}.{os.getpid()}.npy"
    np.save(partial, np.concatenate(pieces))
    partial.replace(out_dir / f"{name}.npy")
    described = {"family": family, "samples": [asdict(e) for e in entries]}
    _replace(out_dir / f"{name}.json", json.dumps(described).encode())
    return [name]


def _trimmed(y: np.ndarray) -> np.ndarray:
    """From just before the attack to where only -60 dB are left; empty when silent."""
    peak = float(np.abs(y).max(initial=0.0))
    if peak < 1e-3:
        return y[:0]
    first = int(np.argmax(np.abs(y) > 0.04 * peak))
    loud = np.flatnonzero(np.abs(y) > 1e-3 * peak)
    y = y[max(0, first - 44) : int(loud[-1]) + 1].astype(np.float32).copy()
    y[:20] *= np.linspace(0, 1, len(y[:20]), dtype=np.float32)
    return y


def _render_program(out_dir: Path, font: Path, family: str, program: int) -> list[str]:
    bass = family.endswith("bass")
    keys = range(BASS_LOW, BASS_HIGH + 1, 2) if bass else range(40, 92, 3)
    hold_s = 2.5 if bass else 4.0 if family in SUSTAINED else 3.0
    velocities = (100,) if family in ("pad", "organ", "strings") else (60, 110)
    strokes = [(key, v) for key in keys for v in velocities]
    samples = []
    for (key, velocity), y in zip(strokes, _play(font, program, strokes, hold_s, channel=0)):
        nominal = midi_to_hz(key)
        hertz, strength = measure_pitch(_trimmed(y), nominal)
        cents = 1200 * np.log2(hertz / nominal)
        if bass and (strength < 0.6 or abs(cents) > 80):
            continue  # the truth of the bass must be exact
        samples.append((y, hertz if strength > 0.5 and abs(cents) < 60 else nominal, "", velocity / 127))
    return _store(out_dir, f"{font.stem}-{family}-{program}", family, samples)


def _render_kit(out_dir: Path, font: Path, family: str, program: int) -> list[str]:
    strokes = [(key, v) for key in DRUM_KEYS.values() for v in (40, 75, 115)]
    roles = [role for role in DRUM_KEYS for _ in range(3)]
    samples = []
    for (_, velocity), role, y in zip(strokes, roles, _play(font, program, strokes, 2.4, channel=9)):
        short = y if role in ("crash", "ride", "open_hat") else y[: int(1.2 * SR)]
        samples.append((short, 0.0, role, velocity / 127))
    return _store(out_dir, f"{font.stem}-{family}-{program}", family, samples)


def _play(font: Path, program: int, strokes: list[tuple[int, int]], hold_s: float, *, channel: int) -> list[np.ndarray]:
    """Mono recordings of single notes (key, velocity), each ``hold_s`` long, through fluidsynth."""
    import soundfile

    slot_s = hold_s + 1.2  # room to ring out before the next one
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder) / "notes.mid", Path(folder) / "notes.wav"
        midi.write_bytes(_midi_file(program, strokes, hold_s, slot_s, channel))
        command = ["fluidsynth", "-n", "-i", "-q", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(SR), "-F", str(wave)]
        done = subprocess.run([*command, str(font), str(midi)], capture_output=True, text=True)
        if done.returncode or not wave.is_file():
            raise DatasetError(f"fluidsynth failed: {done.stderr.strip()[-200:]}", source=str(font), stage="bank")
        y, rate = soundfile.read(wave, dtype="float32", always_2d=True)
    assert rate == SR
    mono = y.mean(axis=1)
    starts = [round(k * slot_s * SR) for k in range(len(strokes))]
    return [mono[s : s + int(hold_s * SR)] for s in starts]


def _midi_file(program: int, strokes: list[tuple[int, int]], hold_s: float, slot_s: float, channel: int) -> bytes:
    """A standard MIDI file, a tick half a millisecond."""
    events = [
        (0, bytes([0xC0 | channel, program])),
        (0, bytes([0xB0 | channel, 91, 0])),
        (0, bytes([0xB0 | channel, 93, 0])),
    ]
    for k, (key, velocity) in enumerate(strokes):
        start = round(k * slot_s * 2000)
        events.append((start, bytes([0x90 | channel, key, velocity])))
        events.append((start + round(hold_s * 2000), bytes([0x80 | channel, key, 0])))
    events.append((round(len(strokes) * slot_s * 2000), bytes([0xFF, 0x2F, 0])))
    track, now = b"", 0
    for tick, message in events:
        track += _variable_length(tick - now) + message
        now = tick
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1000) + b"MTrk" + struct.pack(">I", len(track)) + track


def _variable_length(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | (value & 0x7F))
    return bytes(reversed(parts))


def _read_folder(out_dir: Path, folder: Path) -> list[str]:
    """The instruments of one folder of one-shots."""
    from ...audio import load
    from ...training.bank import drum_role, note_name_to_midi

    kind = folder.parent.name
    paths = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in (".opus", ".ogg", ".wav", ".flac", ".aif", ".aiff")
    )

    def read(path: Path) -> np.ndarray:
        return load(path, sample_rate=SR, mono=True)[0][: int(3.5 * SR)]

    if kind == "drums":
        hits = [(read(p), _ROLES.get(r, r)) for p in paths if (r := drum_role(p.name)) != "loop"]
        strengths = {id(y): float(np.abs(y).max(initial=0)) for y, _ in hits}
        samples = []
        for role in sorted({r for _, r in hits}):
            ordered = sorted((y for y, r in hits if r == role), key=lambda y: strengths[id(y)])
            samples += [(y, 0.0, role, (i + 1) / len(ordered)) for i, y in enumerate(ordered)]
        family = "electronic_kit" if "sonic" in folder.name else "acoustic_kit"
        return _store(out_dir, f"notes-drums-{folder.name}", family, samples)
    if kind not in _CLASS_FAMILIES:
        return []
    family = next((f for word, f in _FAMILY_WORDS if word in folder.name.lower()), _CLASS_FAMILIES[kind])
    articulations: dict[str, list[tuple[np.ndarray, float]]] = {}
    for path in paths:
        named = note_name_to_midi(path.name)
        if named is None or not named[1] or any(w in path.name.lower() for w in _NOISES):
            continue
        articulation = re.match(r"(.*?)_?[A-Ga-g][b#s]?-?\d", path.stem)
        articulations.setdefault(articulation[1] if articulation else "", []).append((read(path), named[0]))
    names = []
    for label, recordings in sorted(articulations.items()):
        name = re.sub(r"[^a-z0-9]+", "-", f"notes-{kind}-{folder.name}-{label}".lower()).strip("-")
        names += _store(out_dir, name, family, _tuned(recordings))
    return names


def _tuned(recordings: list[tuple[np.ndarray, float]]) -> list[tuple[np.ndarray, float, str, float]]:
    """Measured pitches of recordings whose names may all be wrong by the same number of octaves."""
    octaves = []
    for y, midi in recordings:
        y = _trimmed(y)
        strengths = {o: measure_pitch(y, midi_to_hz(midi + 12 * o))[1] for o in (1, 0, -1)}
        best = max(strengths.values())
        if best > 0.6:  # multiples of the period fit as well: the shortest that does is the period
            octaves.append(next(o for o, s in strengths.items() if s > 0.88 * best))
    shift = 12 * int(np.median(octaves)) if octaves else 0
    by_key: dict[float, list[tuple[float, np.ndarray, float]]] = {}
    for y, midi in recordings:
        hertz, strength = measure_pitch(_trimmed(y), midi_to_hz(midi + shift))
        if strength > 0.6 and abs(12 * np.log2(hertz / midi_to_hz(midi + shift))) < 0.7:
            by_key.setdefault(midi, []).append((float(np.sqrt(np.mean(y**2))), y, hertz))
    samples = []
    for takes in by_key.values():
        takes.sort(key=lambda take: take[0])
        samples += [(y, hertz, "", (i + 1) / len(takes)) for i, (_, y, hertz) in enumerate(takes)]
    return samples


class NoteBank:
    """The instruments of a bank; audio stays on disk (memory-mapped).

    Attributes
    ----------
    by_family : instrument names by family. fingerprint : of what the bank holds.

    Raises
    ------
    DatasetError : not a bank, of another version, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            index = json.loads((self.path / "bank.json").read_text())
            if index["version"] != VERSION:
                raise DatasetError(
                    f"bank version {index['version']}, expected {VERSION}", source=str(path), stage="bank"
                )
            self._entries: dict[str, list[SampleEntry]] = {}
            digest = 0
            self.by_family: dict[str, list[str]] = {}
            for name in index["instruments"]:
                text = (self.path / f"{name}.json").read_text()
                described, digest = json.loads(text), zlib.crc32(text.encode(), digest)
                self._entries[name] = [SampleEntry(**s) for s in described["samples"]]
                self.by_family.setdefault(described["family"], []).append(name)
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise DatasetError(f"not a bank of notes ({error})", source=str(path), stage="bank") from error
        self.fingerprint = f"{digest:08x}"
        self._audio: dict[str, np.ndarray] = {}

    def entries(self, name: str) -> list[SampleEntry]:
        return self._entries[name]

    def samples(self, name: str, entry: SampleEntry) -> np.ndarray:
        """(n,) float32."""
        if name not in self._audio:
            self._audio[name] = np.load(self.path / f"{name}.npy", mmap_mode="r")
        return self._audio[name][entry.start : entry.start + entry.length].astype(np.float32) * np.float32(entry.gain)
