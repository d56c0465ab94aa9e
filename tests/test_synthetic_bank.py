"""The bank of recorded notes: what is kept, what is left out, and what is said when it cannot be made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.errors import DatasetError
from stemfeatures.generator import units
from stemfeatures.generator.play import note_bank, pitch, synths

SR = synths.SR


def tone(hertz: np.ndarray, *, noise: float = 0.0) -> np.ndarray:
    """Ten harmonics at ``hertz`` (a value a sample), and noise of ``noise`` times their level."""
    phase = 2 * np.pi * np.cumsum(hertz) / SR
    y = sum(np.sin(h * phase) / h for h in range(1, 11))
    hiss = np.random.default_rng(0).standard_normal(len(y))
    return (0.1 * (y + noise * np.std(y) * hiss)).astype(np.float32)


@pytest.mark.parametrize("hertz", [36.7, 61.3, 220.0])
def test_pitch_is_measured_to_a_cent_and_held_notes_are_steady(hertz: float) -> None:
    y = tone(np.full(SR, hertz))
    measured, strength = pitch.measure_pitch(y, hertz * 1.02)
    assert abs(1200 * np.log2(measured / hertz)) < 1
    assert strength > 0.95
    strength, cents = pitch.steadiness(y, hertz)
    assert strength > 0.95
    assert cents < 3


def test_slides_and_growls_are_not_steady() -> None:
    seconds = np.arange(SR) / SR
    for y in (
        tone(61.3 * 2 ** (seconds / 6)),  # two semitones up in a second
        tone(61.3 * 2 ** (0.05 * np.sin(2 * np.pi * 4 * seconds))),  # 60 cents to and fro
        tone(np.full(SR, 61.3), noise=1.0),
    ):
        assert not note_bank._is_steady(y, 61.3)
    assert note_bank._is_steady(tone(np.full(SR, 61.3)), 61.3)
    assert pitch.steadiness(tone(np.full(2000, 61.3)), 61.3) == (0.0, np.inf)


def test_unsteady_basses_are_left_out(tmp_path: Path) -> None:
    seconds = np.arange(SR) / SR
    for instrument, bend in (("held", 0.0 * seconds), ("sliding", seconds / 6)):
        for name, midi in (("c2", 36), ("e2", 40), ("g2", 43), ("b2", 47), ("d3", 50)):
            path = tmp_path / "notes" / "bass" / instrument / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(units.midi_to_hz(midi) * 2**bend), SR)
    bank = note_bank.NoteBank(note_bank.build_note_bank(tmp_path / "bank", notes_dir=tmp_path / "notes"))
    assert bank.by_family == {"electric_bass": ["notes-bass-held"]}


def write_bass(notes: Path, instrument: str) -> None:
    for name, midi in (("c2", 36), ("e2", 40), ("g2", 43), ("b2", 47)):
        path = notes / "bass" / instrument / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(np.full(SR, units.midi_to_hz(midi))), SR)


def test_an_interrupted_bank_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, out = tmp_path / "notes", tmp_path / "bank"
    for instrument in ("finger", "pick", "thumb"):
        write_bass(notes, instrument)
    whole = note_bank.build_note_bank(tmp_path / "whole", notes_dir=notes)
    made: list[str] = []
    read = note_bank._read_folder

    def interrupted(out_dir: Path, folder: Path) -> list[str]:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(folder.name)
        return read(out_dir, folder)

    monkeypatch.setattr(note_bank, "_read_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        note_bank.build_note_bank(out, notes_dir=notes)
    assert not (out / "bank.json").exists()
    made.clear()
    pick = notes / "bass" / "pick"
    (pick / "d3.wav").write_bytes((pick / "c2.wav").read_bytes())  # new, but not at the pitch of its name
    note_bank.build_note_bank(out, notes_dir=notes)
    assert made == ["pick", "thumb"]  # what has changed, and what is missing
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_damaged_banks_are_told(tmp_path: Path) -> None:
    write_bass(tmp_path / "notes", "thumb")
    bank = note_bank.build_note_bank(tmp_path / "bank", notes_dir=tmp_path / "notes")
    audio = bank / "notes-bass-thumb.npy"
    os.truncate(audio, audio.stat().st_size // 2)
    with pytest.raises(DatasetError, match="cut short"):
        note_bank.NoteBank(bank)
    audio.unlink()
    with pytest.raises(DatasetError, match=r"notes-bass-thumb\.npy"):
        note_bank.NoteBank(bank)


def test_a_bank_of_nothing_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes" / "bass" / "empty").mkdir(parents=True)
    with pytest.raises(DatasetError, match="not a single instrument"):
        note_bank.build_note_bank(tmp_path / "bank", notes_dir=tmp_path / "notes")
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF nothing")
    with pytest.raises(DatasetError, match="no such SoundFont"):
        note_bank.build_note_bank(tmp_path / "bank", soundfonts=[tmp_path / "other.sf2"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match="fluidsynth is needed"):
        note_bank.build_note_bank(tmp_path / "bank", soundfonts=[font])
    assert not (tmp_path / "bank" / "bank.json").exists()


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="needs fluidsynth")
def test_a_file_that_is_no_soundfont(tmp_path: Path) -> None:
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF nothing")
    with pytest.raises(DatasetError, match="cannot play it"):
        note_bank.build_note_bank(tmp_path / "bank", soundfonts=[font])
