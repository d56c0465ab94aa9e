"""Single notes of General MIDI SoundFonts, rendered by the ``fluidsynth`` program."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import DatasetError
from ..units import SR

#: Where distributions put SoundFonts.
SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
#: General MIDI programs (from 0) by family.
GM_PROGRAMS = {
    "piano": (0, 1, 3), "epiano": (4, 5), "clavinet": (7,), "mallet": (9, 12, 13), "vibraphone": (11,),
    "organ": (16, 17, 18), "accordion": (21, 22), "nylon_guitar": (24,), "acoustic_guitar": (25,),
    "jazz_guitar": (26,), "clean_guitar": (27,), "muted_guitar": (28,), "electric_guitar": (27,), "double_bass": (32,),
    "electric_bass": (33, 34, 35, 36), "synth_bass": (38, 39), "fiddle": (40,), "cello": (42,), "strings": (48, 49, 50),
    "brass": (56, 57, 61), "sax": (65, 66), "flute": (73,), "winds": (68, 71),
    "synth_lead": (80, 81, 87), "pad": (52, 88, 89, 90),
}  # fmt: skip
GM_KITS = {"acoustic_kit": (0, 8, 16, 32, 40), "electronic_kit": (24, 25)}


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


class MidiNote(NamedTuple):
    """A note to be played: seconds, MIDI key and velocity."""

    start_s: float
    end_s: float
    key: int
    velocity: int


def play_strokes(
    font: Path, program: int, strokes: list[tuple[int, int]], hold_s: float, *, channel: int
) -> list[np.ndarray]:
    """Mono recordings of single notes (key, velocity), each ``hold_s`` long, through fluidsynth.

    Raises DatasetError where fluidsynth is missing or cannot read ``font``.
    """
    slot_s = hold_s + 1.2  # room to ring out before the next one
    notes = [MidiNote(k * slot_s, k * slot_s + hold_s, *stroke) for k, stroke in enumerate(strokes)]
    mono = play_notes(font, program, notes, len(strokes) * slot_s, channel=channel).mean(axis=1)
    starts = [round(k * slot_s * SR) for k in range(len(strokes))]
    return [mono[s : s + int(hold_s * SR)] for s in starts]


def play_notes(
    font: Path, program: int, notes: list[MidiNote], seconds: float, *, channel: int, reverb: bool = False
) -> np.ndarray:
    """(n, 2) float32 recording at ``SR`` of notes in any order, ``seconds`` and longer, through fluidsynth.

    Raises DatasetError where fluidsynth is missing or cannot read ``font``.
    """
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder) / "notes.mid", Path(folder) / "notes.wav"
        midi.write_bytes(_midi_file(program, notes, seconds, channel, reverb))
        command = ["fluidsynth", "-n", "-i", "-q", "-R", str(int(reverb)), "-C", "0", "-g", "0.5", "-r", str(SR)]
        command += ["-o", "synth.default-soundfont="]  # or it would play that one where it cannot read ours
        files = ["-F", str(wave), str(font), str(midi)]
        try:
            done = subprocess.run([*command, *files], capture_output=True, text=True, errors="replace")
        except FileNotFoundError as error:
            message = "the program fluidsynth is needed to play it"
            raise DatasetError(message, source=str(font), stage="bank") from error
        unread = any(words in done.stderr for words in ("not a SoundFont", "Failed to load"))
        if done.returncode or unread or not wave.is_file():
            message = " ".join(done.stderr.split())[:200]
            raise DatasetError(f"fluidsynth cannot play it: {message}", source=str(font), stage="bank")
        y, rate = soundfile.read(wave, dtype="float32", always_2d=True)
    assert rate == SR
    return np.asarray(y)


def _midi_file(program: int, notes: list[MidiNote], seconds: float, channel: int, reverb: bool) -> bytes:
    """A standard MIDI file, a tick half a millisecond."""
    events = [
        (0, bytes([0xC0 | channel, program])),
        (0, bytes([0xB0 | channel, 91, 40 if reverb else 0])),
        (0, bytes([0xB0 | channel, 93, 0])),
    ]
    for note in notes:
        events.append((round(note.start_s * 2000), bytes([0x90 | channel, note.key, note.velocity])))
        events.append((round(note.end_s * 2000), bytes([0x80 | channel, note.key, 0])))
    events.sort(key=_tick_and_kind)
    events.append((max(round(seconds * 2000), events[-1][0]), bytes([0xFF, 0x2F, 0])))
    track, now = b"", 0
    for tick, message in events:
        track += _variable_length(tick - now) + message
        now = tick
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 1000) + b"MTrk" + struct.pack(">I", len(track)) + track


def _tick_and_kind(event: tuple[int, bytes]) -> tuple[int, bool]:
    """Order of events: a note ends before another of its key begins."""
    tick, message = event
    return tick, message[0] & 0xF0 == 0x90


def _variable_length(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | (value & 0x7F))
    return bytes(reversed(parts))
