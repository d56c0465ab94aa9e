"""Recorded drum performances in generated songs, and metres and tempi of written ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import main
from stemfeatures.errors import DatasetError
from stemfeatures.generator import truth
from stemfeatures.generator.compose import composer
from stemfeatures.generator.compose.grooves import GrooveBank, Performance
from stemfeatures.generator.compose.styles import METRES, STYLES
from stemfeatures.generator.play import instruments

mido = pytest.importorskip("mido", reason="grooves need the train extra")

#: One bar of a rock beat: beat, key of the TD-11, velocity. The second kick is late, the crossed stick soft.
BAR = ((0.0, 36, 120), (0.0, 42, 80), (0.53, 42, 50), (1.0, 38, 112), (2.04, 36, 100), (2.5, 46, 60), (3.0, 38, 127),
       (3.75, 37, 25))  # fmt: skip


def write_midi(path: Path, hits: list[tuple[float, int, int]], *, quarters: float = 1.0) -> None:
    """A performance; ``hits`` in beats of ``quarters`` quarter notes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    midi, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    midi.tracks.append(track)
    now = 0
    for beat, key, velocity in sorted(hits):
        at = round(beat * quarters * 480)
        track.append(mido.Message("note_on", channel=9, note=key, velocity=velocity, time=at - now))
        track.append(mido.Message("note_off", channel=9, note=key, velocity=64, time=0))
        now = at
    midi.save(path)


def folder_of_grooves(folder: Path) -> Path:
    bars = [(4 * bar + beat, key, velocity) for bar in range(6) for beat, key, velocity in BAR]
    write_midi(folder / "drummer1" / "session1" / "1_rock-halftime_120_beat_4-4.mid", bars)
    write_midi(folder / "drummer1" / "session1" / "2_rock_118_fill_4-4.mid", bars[:8])
    shifted = [(beat + 2, key, velocity) for beat, key, velocity in bars]
    write_midi(folder / "drummer1" / "session1" / "3_funk_100_beat_4-4.mid", [(b + 1, k, v) for b, k, v in shifted])
    six = [(2.0 * bar + beat, 36 if beat < 1 else 38, 100) for bar in range(8) for beat in (0.0, 1.0)]
    write_midi(folder / "drummer2" / "session1" / "1_rock_90_beat_6-8.mid", six, quarters=1.5)
    return folder


def test_performances_are_read_as_played(tmp_path: Path) -> None:
    bank = GrooveBank(folder_of_grooves(tmp_path))
    assert {name: found for name, found in bank.names.items() if "beat_4-4" in name} == {
        "drummer1/session1/1_rock-halftime_120_beat_4-4.mid": ("rock", 120.0, "4/4"),
        "drummer1/session1/3_funk_100_beat_4-4.mid": ("funk", 100.0, "4/4"),
    }
    played = bank.performance("drummer1/session1/1_rock-halftime_120_beat_4-4.mid")
    assert played.n_bars == 6
    assert played.times_beats[:8] == pytest.approx([0, 0, 0.53, 1, 2.04, 2.5, 3, 3.75], abs=0.002)
    assert played.roles[:8] == ("hat", "kick", "hat", "snare", "kick", "open_hat", "snare", "rim")
    assert played.velocities[:8] * 127 == pytest.approx([80, 120, 50, 112, 100, 60, 127, 25])
    assert played.marks_bars
    assert not bank.performance("drummer1/session1/3_funk_100_beat_4-4.mid").marks_bars  # a beat late throughout
    six = bank.performance("drummer2/session1/1_rock_90_beat_6-8.mid")
    assert (six.bpm, six.beats_per_bar, six.n_bars) == (60.0, 2, 8)
    assert six.times_beats[:4] == pytest.approx([0, 1, 2, 3])


def test_swing_is_measured() -> None:
    def swung(off: float) -> float | None:
        times = np.array([b + part for b in range(16) for part in (0.0, off)])
        return Performance("", "jazz", 120, "4/4", 4, times, ("ride",) * 32, np.ones(32)).swing

    assert swung(0.5) == pytest.approx(0.0)
    assert swung(2 / 3) == pytest.approx(1.0)
    assert swung(0.25) is None


def test_bars_go_round_and_keep_what_comes_early() -> None:
    times, roles = np.array([0.0, 1.0, 3.9, 4.0, 7.98]), ("kick", "snare", "crash", "kick", "hat")
    played = Performance("", "jazz", 120, "4/4", 4, times, roles, np.linspace(0.2, 1, 5))
    assert [(round(beat, 6), role) for beat, role, _ in played.bars(1, 2)] == [
        (-0.1, "crash"), (0, "kick"), (3.98, "hat"), (4, "kick"), (5, "snare"),
    ]  # fmt: skip
    assert [v for _, _, v in played.bars(0, 1)] == pytest.approx([1.0, 0.2, 0.4])


def test_songs_play_them_on_their_own_beats(tmp_path: Path) -> None:
    bank = GrooveBank(folder_of_grooves(tmp_path))
    checked = 0
    for seed in range(60):
        score = composer.compose(seed, duration_s=16.0, style="rock", grooves=bank)
        if score.groove is None:
            continue
        assert score.groove.name.startswith("drummer1/session1/1_")
        assert 1 / 1.22 <= 120 / score.tempo <= 1.22
        choices = truth.score_choices(score)["groove"]
        assert choices["performance"] == score.groove.name
        for section in (s for s in score.sections if "drums" in s.players and not score.stops):
            bar = section.bars[1]
            beats = [b for b in score.grid.beat_s if b >= score.grid.time(bar) - 1e-9][:5]
            kicks = [h for h in score.drums if h.role == "kick" and beats[0] - 0.04 <= h.time_s < beats[4] - 0.04]
            assert [h.velocity for h in kicks] == pytest.approx([120 / 127, 100 / 127])
            expected = [beats[0], beats[2] + (2.04 - 2) * (beats[3] - beats[2])]
            assert [h.time_s for h in kicks] == pytest.approx(expected, abs=2e-3)
            checked += 1
    assert checked > 10
    plain = composer.compose(0, duration_s=16.0, style="rock")
    assert plain.groove is None
    assert truth.score_choices(plain)["groove"] is None


def test_basses_that_follow_the_kick_follow_the_recorded_one(tmp_path: Path) -> None:
    bank = GrooveBank(folder_of_grooves(tmp_path))
    near = []
    for seed in range(80):
        score = composer.compose(seed, duration_s=16.0, style="rock", grooves=bank)
        if score.groove is None or score.bass_kind != "kick":
            continue
        kicks = np.array([h.time_s for h in score.drums if h.role == "kick"])
        near += [bool(len(kicks)) and np.min(np.abs(kicks - n.start_s)) < 0.05 for n in score.bass]
    assert len(near) > 30
    assert np.mean(near) > 0.5  # half of the chance strokes between do not


def test_soft_strokes_are_soft() -> None:
    kit = instruments.make_kit("acoustic", None, np.random.default_rng(0))
    peaks = [np.abs(kit.hit("snare", v, np.random.default_rng(1))).max() for v in (0.15, 0.5, 1.0)]
    assert 20 * np.log10(peaks[2] / peaks[0]) == pytest.approx(26 * np.log10(1 / 0.15), abs=0.1)
    assert peaks[0] < peaks[1] < peaks[2]


def test_folders_without_performances_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(DatasetError, match="no files"):
        GrooveBank(tmp_path)
    (tmp_path / "1_rock_100_beat_4-4.mid").write_bytes(b"not MIDI at all")
    with pytest.raises(DatasetError, match="not a MIDI file"):
        GrooveBank(tmp_path).performance("1_rock_100_beat_4-4.mid")
    command = ["generate", "--out", str(tmp_path / "out"), "--songs", "1", "--seed", "0"]
    assert main([*command, "--grooves", str(tmp_path / "missing")]) != 0
    assert "missing" in capsys.readouterr().err


def test_command_line_says_which_performance(tmp_path: Path) -> None:
    pytest.importorskip("pyworld", reason="singing needs the train extra")
    bank = GrooveBank(folder_of_grooves(tmp_path / "grooves"))
    seed = next(s for s in range(60) if composer.compose(s, duration_s=8.0, style="rock", grooves=bank).groove)
    command = ["generate", "--songs", "1", "--seed", str(seed), "--duration", "8", "--style", "rock", "-q"]
    assert main([*command, "--out", str(tmp_path / "out"), "--grooves", str(tmp_path / "grooves")]) == 0
    choices = json.loads((tmp_path / "out" / f"{seed:08d}" / "truth.json").read_text())["choices"]
    assert choices["request"]["grooves"] == bank.fingerprint
    assert choices["groove"]["style"] == "rock"
    assert main([*command, "--out", str(tmp_path / "out")]) == 2  # made with other options


# -- metres and tempi ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STYLES))
def test_patterns_fill_their_bars(name: str) -> None:
    beats, steps = METRES[STYLES[name].metre]
    for groove in STYLES[name].grooves:
        assert {len(pattern) for pattern in groove.values()} == {beats * steps}
    score = composer.compose(3, duration_s=24.0, style=name)
    positions = truth.structure(score)["beat_positions"]
    assert max(positions) == beats
    assert all(b == a % beats + 1 for a, b in pairwise(positions))


def test_metres_and_slow_songs_have_their_share() -> None:
    scores = [composer.compose(seed, duration_s=10.0) for seed in range(200)]
    metres = [score.style.metre for score in scores]
    for metre, least in (("3/4", 0.05), ("6/8", 0.02), ("5/4", 0.015), ("7/4", 0.015), ("12/8", 0.02)):
        assert metres.count(metre) / len(metres) > least, metre
    assert 0.5 < metres.count("4/4") / len(metres) < 0.85
    slow = {score.style.name for score in scores if score.tempo < 66}
    assert len(slow) >= 4
    assert 0.08 < np.mean([score.tempo < 66 for score in scores]) < 0.35
    changes = [len({c.label for c in score.chords_of(bar)}) for score in scores for bar in range(score.grid.n_bars)]
    assert np.mean(np.array(changes) == 1) > 0.6  # a chord a bar


def test_downbeats_carry_the_chord_changes() -> None:
    """In every metre chords begin on downbeats far more often than elsewhere."""
    for name in ("slow_rock", "soul_ballad", "slow_waltz", "five_four", "seven_four"):
        score = composer.compose(1, duration_s=40.0, style=name)
        downbeats = np.array(truth.structure(score)["downbeats_s"])
        changes = [b.start_s for a, b in pairwise(score.chords) if a.label != b.label]
        assert np.mean([np.min(np.abs(downbeats - t)) < 1e-6 for t in changes]) > 0.45, name


def test_the_benchmark_runs(tmp_path: Path) -> None:
    pytest.importorskip("pyworld", reason="singing needs the train extra")
    script = Path(__file__).parents[1] / "benchmarks" / "generation.py"
    grooves = folder_of_grooves(tmp_path)
    done = subprocess.run(
        [sys.executable, str(script), "--songs", "1", "--seconds", "8", "--grooves", str(grooves)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.match(r"1 songs, 0\.[123]\d minutes", done.stdout)
    stages = {row[:24].strip(): float(row[24:].split()[0]) for row in done.stdout.splitlines()[1:-1]}
    assert set(stages) >= {"compose", "drums", "bass", "other", "vocals", "mix and master", "all"}
    assert sum(v for k, v in stages.items() if k != "all") == pytest.approx(stages["all"], rel=0.35)
