"""A bank of recorded notes on disk, made once from SoundFonts and folders of one-shots.

::

    <bank>/bank.json             version and what the bank was made of
    <bank>/<instrument>.json     family, samples (start, length, gain, pitch in Hz or drum role, velocity)
    <bank>/<instrument>.npy      int16 mono at 44.1 kHz, the samples one after the other

The pitch of every note is measured, since samples are often some cents off and the truth must be exact. Basses, whose
F0 is part of the truth, keep only notes that stay at their pitch.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..._util.files import replacing, write_replace
from ..._util.pools import starmap
from ...errors import DatasetError
from ..compose.score import BASS_HIGH, BASS_LOW, DRUM_KEYS
from ..units import SR, midi_to_hz
from .pitch import measure_pitch, steadiness
from .soundfonts import GM_KITS, GM_PROGRAMS, find_soundfonts, play_strokes
from .synths import SUSTAINED

__all__ = ["NoteBank", "SampleEntry", "build_note_bank", "find_soundfonts"]

VERSION = 3
DRUM_FAMILIES = ("acoustic_kit", "electronic_kit")
_NOISES = ("release", "_rel_", "noise", "scrape", "perc", "mute", "fingering")
#: Articulations of guitars that do not ring.
_DAMPED = ("staccato", "muted", "palm")
#: Family of an instrument of a notes folder by words in its name, else by its class.
_FAMILY_WORDS = (
    ("meat", "double_bass"), ("dsmolken", "double_bass"), ("double", "double_bass"),
    ("upright-piano", "piano"), ("epiano", "epiano"), ("rhodes", "epiano"),
    ("organ", "organ"), ("spanish", "nylon_guitar"), ("nylon", "nylon_guitar"),
    ("acoustic", "acoustic_guitar"), ("emily", "acoustic_guitar"), ("blackgreen", "electric_guitar"), ("sax", "sax"),
)  # fmt: skip
_CLASS_FAMILIES = {"bass": "electric_bass", "guitar": "clean_guitar", "keys": "piano", "other": "winds"}
#: Roles of :func:`stemfeatures.datasets.sound_names.drum_role` in our words.
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


def build_note_bank(
    out_dir: str | Path,
    *,
    soundfonts: Iterable[str | Path] = (),
    notes_dir: str | Path | None = None,
    jobs: int = 1,
    progress: Callable[[Iterable, int], Iterable] | None = None,
) -> Path:
    """Render the notes of SoundFonts and read a folder of one-shots; returns ``out_dir``.

    Where an interrupted call with the same sources left off, this one goes on.

    Parameters
    ----------
    soundfonts : Iterable[str | Path], default=()
        General MIDI ``.sf2`` or ``.sf3`` files; rendered by the ``fluidsynth`` program.
    notes_dir : str | Path, optional
        A folder ``{bass,drums,guitar,keys,other}/<instrument>/*`` of one-shots with the pitch in their names.
    jobs : int, default=1
        Processes; with several, a script must make the call under ``if __name__ == "__main__":``.
    progress : Callable[[Iterable, int], Iterable], optional
        Goes between the instruments and their use, given how many there will be.

    Raises
    ------
    DatasetError
        Nothing to build from, no ``fluidsynth``, a file that cannot be used.
    """
    out_dir, fonts = Path(out_dir), [Path(s) for s in soundfonts]
    tasks: list[tuple] = []
    if fonts and shutil.which("fluidsynth") is None:
        raise DatasetError("the program fluidsynth is needed to render SoundFonts", source=str(out_dir), stage="bank")
    for font in fonts:
        if not font.is_file():
            raise DatasetError("no such SoundFont", source=str(font), stage="bank")
        crc = _checksum(font)
        tasks += [(crc, _render_program, font, f, p) for f, programs in GM_PROGRAMS.items() for p in programs]
        tasks += [(crc, _render_kit, font, f, p) for f, programs in GM_KITS.items() for p in programs]
    if notes_dir is not None:
        folders = sorted(p for p in Path(notes_dir).glob("*/*") if p.is_dir())
        if not folders:
            raise DatasetError("no folders {bass,drums,...}/<instrument>", source=str(notes_dir), stage="bank")
        tasks += [(_checksum(folder), _read_folder, folder) for folder in folders]
    if not tasks:
        raise DatasetError("no SoundFont and no folder of notes to build from", source=str(out_dir), stage="bank")
    out_dir.mkdir(parents=True, exist_ok=True)
    work = starmap(partial(_once, out_dir), tasks, jobs=jobs, stage="bank", name=lambda *task: _joined(task[2:]))
    made = list(progress(work, len(tasks)) if progress else work)
    for source in (*fonts, *([Path(notes_dir)] if notes_dir is not None else [])):
        if not any(names for names, task in zip(made, tasks) if source in (task[2], *task[2].parents)):
            raise DatasetError("not a single instrument in it", source=str(source), stage="bank")
    names = [name for group in made for name in group]
    made_of = {"soundfonts": [f.name for f in fonts], "notes": Path(notes_dir).name if notes_dir else None}
    text = json.dumps({"version": VERSION, **made_of, "instruments": sorted(names)}, indent=1)
    write_replace(out_dir / "bank.json", text.encode())
    for note in out_dir.glob(".*.made"):
        note.unlink()
    return out_dir


def _checksum(source: Path) -> int:
    """Of a file, or of the files in a folder."""
    crc = VERSION
    for path in sorted(p for p in (source.rglob("*") if source.is_dir() else [source]) if p.is_file()):
        crc = zlib.crc32(path.read_bytes(), zlib.crc32(path.relative_to(source.parent).as_posix().encode(), crc))
    return crc


def _joined(words: Iterable[object]) -> str:
    return " ".join(map(str, words))


def _once(out_dir: Path, crc: int, make: Callable[..., list[str]], source: Path, *which: object) -> list[str]:
    """The names of the instruments that ``make(out_dir, source, *which)`` writes, unless it has done so before."""
    name = f"{source.parent.name}-{source.name}" if source.is_dir() else source.stem
    note = out_dir / f".{_joined((name, *which))}.made"
    if note.is_file():
        made = json.loads(note.read_text())
        if made["crc"] == crc:
            return list(made["names"])
        note.unlink()  # before its instruments are replaced
    names = make(out_dir, source, *which)
    write_replace(note, json.dumps({"crc": crc, "names": names}).encode())
    return names


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
    with replacing(out_dir / f"{name}.npy") as unfinished, unfinished.open("wb") as handle:
        np.save(handle, np.concatenate(pieces))
    described = {"family": family, "samples": [asdict(e) for e in entries]}
    write_replace(out_dir / f"{name}.json", json.dumps(described).encode())
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


def _is_steady(y: np.ndarray, hertz: float) -> bool:
    """Whether a note stays at its pitch: growls, rattles and slides do not."""
    strength, cents = steadiness(_trimmed(y), hertz)
    return strength >= 0.8 and cents <= 25


def _render_program(out_dir: Path, font: Path, family: str, program: int) -> list[str]:
    bass = family.endswith("bass")
    keys = range(BASS_LOW, BASS_HIGH + 1, 2) if bass else range(40, 92, 3)
    hold_s = 2.5 if bass else 4.0 if family in SUSTAINED else 3.0
    velocities = (100,) if family in ("pad", "organ", "strings") else (60, 110)
    strokes = [(key, v) for key in keys for v in velocities]
    samples = []
    for (key, velocity), y in zip(strokes, play_strokes(font, program, strokes, hold_s, channel=0)):
        nominal = midi_to_hz(key)
        hertz, strength = measure_pitch(_trimmed(y), nominal)
        cents = 1200 * np.log2(hertz / nominal)
        if bass and (strength < 0.6 or abs(cents) > 80 or not _is_steady(y, hertz)):
            continue
        samples.append((y, hertz if strength > 0.5 and abs(cents) < 60 else nominal, "", velocity / 127))
    return _store(out_dir, f"{font.stem}-{family}-{program}", family, samples)


def _render_kit(out_dir: Path, font: Path, family: str, program: int) -> list[str]:
    strokes = [(key, v) for key in DRUM_KEYS.values() for v in (40, 75, 115)]
    roles = [role for role in DRUM_KEYS for _ in range(3)]
    samples = []
    for (_, velocity), role, y in zip(strokes, roles, play_strokes(font, program, strokes, 2.4, channel=9)):
        short = y if role in ("crash", "ride", "open_hat") else y[: int(1.2 * SR)]
        samples.append((short, 0.0, role, velocity / 127))
    return _store(out_dir, f"{font.stem}-{family}-{program}", family, samples)


def _read_folder(out_dir: Path, folder: Path) -> list[str]:
    """The instruments of one folder of one-shots."""
    from ...audio import load
    from ...datasets.sound_names import drum_role, note_name_to_midi

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
        samples = _tuned(recordings)
        played = "muted_guitar" if kind == "guitar" and any(word in label.lower() for word in _DAMPED) else family
        if kind == "bass":
            steady = [sample for sample in samples if _is_steady(sample[0], sample[1])]
            samples = steady if len(steady) > 0.5 * len(samples) else []
        names += _store(out_dir, name, played, samples)
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
    by_family : dict[str, list[str]]
        Instrument names by family.
    fingerprint : str
        Of what the bank holds.

    Raises
    ------
    DatasetError
        Not a bank, of another version, or damaged.
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
                last = self._entries[name][-1]
                if (self.path / f"{name}.npy").stat().st_size < 2 * (last.start + last.length):
                    raise DatasetError(f"{name}.npy is cut short", source=str(path), stage="bank")
        except (OSError, KeyError, IndexError, TypeError, json.JSONDecodeError) as error:
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
