"""Amplifiers, guitars and lines of single players: is their pitch that of the truth, do they sound as they should?"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemfeatures.generator import units
from stemfeatures.generator.compose import composer, form, guitar_figures
from stemfeatures.generator.compose.score import Note
from stemfeatures.generator.play import amplifiers, instruments, line, others, pitch, playing, synths
from stemfeatures.generator.play.note_bank import NoteBank, build_note_bank
from stemfeatures.generator.song import F0_HOP_S, generate_song

librosa = pytest.importorskip("librosa")

SR = units.SR


def sine(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SR)) / SR)).astype(np.float32)


def spectrum(y: np.ndarray) -> np.ndarray:
    """Power by hertz (bins of 1 Hz) of the last second."""
    return np.abs(np.fft.rfft(y[-SR:] * np.hanning(SR))) ** 2


def decibels(power: float) -> float:
    return float(10 * np.log10(power + 1e-20))


def yin_rpa(y: np.ndarray, f0_hz: np.ndarray, *, fmin: float = 60.0, fmax: float = 1500.0) -> float:
    """Raw pitch accuracy of YIN within 50 cents; frames in which the truth moves by a semitone are left out."""
    hop = round(F0_HOP_S * SR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimate = librosa.yin(y, fmin=fmin, fmax=fmax, sr=SR, frame_length=2048, hop_length=hop)
    n = min(len(estimate), len(f0_hz))
    truth = f0_hz[:n]
    steady = np.array([
        k > 2 and k + 3 < n and np.all(f0_hz[k - 2 : k + 3] > 0) and np.ptp(np.log2(f0_hz[k - 2 : k + 3])) < 1 / 12
        for k in range(n)
    ])  # fmt: skip
    assert steady.mean() > 0.2, "hardly anything to measure"
    return float(np.mean(np.abs(1200 * np.log2(estimate[:n][steady] / truth[steady])) < 50))


# -- amplifiers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drive", "high_gain", "fuzz"])
def test_shapers_fold_no_harmonics_back(kind: str) -> None:
    hertz = 4987.0
    clean = np.ones(SR // 2 + 1, bool)
    for k in range(1, 5):
        clean[round(k * hertz) - 3 : round(k * hertz) + 4] = False
    y = 3.0 * sine(hertz, 2.0)

    def folded(out: np.ndarray) -> float:
        power = spectrum(out)
        return decibels(power[clean].sum() / power.sum())

    assert folded(amplifiers.shape(y, kind, 26.0, 0.2)) < -38
    assert folded(np.tanh(y * 20)) > -25  # what a shaper at 44.1 kHz does


def test_drive_adds_harmonics_and_keeps_pitch_and_level() -> None:
    distortion = []
    for kind in ("clean", "crunch", "drive", "high_gain"):
        amplifier = replace(amplifiers.Amplifier.draw(kind, np.random.default_rng(1)), cabinet=())
        power = spectrum(amplifier.play(sine(220.0, 2.0)))
        distortion.append(decibels(power[300:].sum() / power[:300].sum()))
    assert distortion[0] < -25
    assert all(a + 2 < b for a, b in zip(distortion, distortion[1:]))
    spec = synths.draw_synth("electric_guitar", np.random.default_rng(0))
    note = synths.synth_note(spec, 110.0, 2.0, 0.8, 0) * 0.1
    for kind in amplifiers.KINDS:
        y = amplifiers.Amplifier.draw(kind, np.random.default_rng(2)).play(note)
        hertz, strength = pitch.measure_pitch(y, 110.0)
        assert abs(1200 * np.log2(hertz / 110.0)) < 2
        assert strength > 0.9
        assert others.console.active_rms(y) == pytest.approx(others.console.active_rms(note), rel=0.02)


def test_drive_sustains_and_a_gate_silences() -> None:
    spec = synths.draw_synth("electric_guitar", np.random.default_rng(0))
    note = synths.synth_note(spec, 196.0, 3.0, 0.8, 0) * 0.1
    falls = {}
    for kind in ("clean", "high_gain"):
        y = amplifiers.Amplifier.draw(kind, np.random.default_rng(2)).play(note)
        falls[kind] = decibels(np.mean(y[SR // 4 : SR // 2] ** 2)) - decibels(np.mean(y[2 * SR : 5 * SR // 2] ** 2))
    assert falls["high_gain"] < 0.6 * falls["clean"]
    hiss = 1e-5 * np.random.default_rng(0).standard_normal(SR).astype(np.float32)
    y = amplifiers.Amplifier.draw("high_gain", np.random.default_rng(2)).play(np.concatenate([note, hiss]))
    assert decibels(np.mean(y[-SR // 2 :] ** 2)) < decibels(np.mean(y[:SR] ** 2)) - 50


def test_cabinets_end_where_loudspeakers_do() -> None:
    noise = np.random.default_rng(0).standard_normal(4 * SR).astype(np.float32) * 0.05
    for seed in range(5):
        power = spectrum(amplifiers.Amplifier.draw("clean", np.random.default_rng(seed)).play(noise))
        assert decibels(power[10_000:15_000].mean()) < decibels(power[1500:3000].mean()) - 18
        assert decibels(power[20:40].mean()) < decibels(power[120:200].mean()) - 8


def test_wah_moves_the_resonance() -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SR).astype(np.float32) * 0.05
    peaks = []
    for position in (0.0, 0.5, 1.0):
        power = spectrum(amplifiers.wah(noise, np.full(len(noise), position)))
        smooth = np.convolve(power[:4000], np.ones(80), "same")
        peaks.append(int(np.argmax(smooth)))
    assert peaks == pytest.approx([380, 935, 2300], rel=0.2)


# -- lines --------------------------------------------------------------------------------------------------------


def tune_notes(seed: int = 0) -> list[Note]:
    """Twelve seconds of a melody in a guitar's register."""
    rng = np.random.default_rng(seed)
    notes, at, midi = [], 0.2, 62
    while at < 12:
        length = float(rng.choice([0.2, 0.3, 0.45, 0.9, 1.4]))
        notes.append(Note(at, at + length * 0.97, midi, 0.8))
        at += length + (0.3 if rng.random() < 0.15 else 0.0)
        midi = int(np.clip(midi + rng.choice([-4, -2, -1, 1, 2, 3, 5]), 55, 74))
    return notes


def play(family: str, style: line.LineStyle, notes: list[Note], *, feedback: bool = False) -> line.Line:
    rng = np.random.default_rng(3)
    n = round(13.5 * SR)
    instrument = instruments.make_instrument(family, None, rng)
    return line.play_line(notes, instrument, style, 12.0, n, n * 100 // SR + 1, rng, feedback=feedback)


@pytest.mark.parametrize("family", ["electric_guitar", "sax", "flute", "cello", "synth_lead"])
def test_lines_sound_at_the_pitch_of_the_truth(family: str) -> None:
    style = line.LineStyle.draw(family, np.random.default_rng(5))
    played = play(family, style, tune_notes())
    assert yin_rpa(played.audio, played.f0_hz) >= 0.95
    assert yin_rpa(played.audio, played.f0_hz * 2 ** (0.7 / 12)) < 0.1


@pytest.mark.parametrize("kind", ["crunch", "high_gain", "fuzz"])
def test_amplified_lines_keep_their_truth(kind: str) -> None:
    style = line.LineStyle.draw("electric_guitar", np.random.default_rng(5))
    played = play("electric_guitar", replace(style, feedback=1.0), tune_notes(1), feedback=True)
    assert played.gestures["feedback"] > 1
    heard = amplifiers.Amplifier.draw(kind, np.random.default_rng(1)).play(played.audio)
    played.mute_truth_where_silent(heard)
    assert yin_rpa(heard, played.f0_hz) >= 0.92
    voiced = np.flatnonzero(played.f0_hz)
    levels = np.array([decibels(np.mean(heard[k * 441 - 441 : k * 441 + 441] ** 2)) for k in voiced if k])
    assert levels.min() > np.percentile(levels, 80) - 46


def test_bends_rise_to_their_note_and_vibrato_is_where_it_is_said() -> None:
    still = line.LineStyle("fretted", 0.0, 5, (0.012, 0.1), fretted=True, vibrato=0.0, drift=0.0, intonation=0.0)
    note = [Note(1.0, 2.5, 64.0, 0.8)]

    def semitones(style: line.LineStyle) -> np.ndarray:
        f0 = play("electric_guitar", style, note).f0_hz
        return 12 * np.log2(f0[100:251] / 440) + 69 - 0.12

    assert np.abs(semitones(still) - 64).max() < 1e-6
    bent = semitones(replace(still, bend=1.0))
    assert 62.9 < bent[0] + 2 < 65.1
    assert round(64 - bent[0], 3) in (1, 2, 3)
    assert np.all(np.diff(bent) > -1e-9)
    assert bent[-1] == pytest.approx(64, abs=1e-6)
    shaken = semitones(replace(still, vibrato=1.0, vibrato_hz=5.0, vibrato_extent=0.4, vibrato_delay_s=0.2))
    assert np.abs(shaken[:10] - 64).max() < 1e-6
    assert shaken.min() > 64 - 1e-6  # a fret lets the pitch only rise
    assert 0.2 < shaken.max() - 64 < 1.0
    wave = shaken[60:] - shaken[60:].mean()
    assert 0.5 * np.count_nonzero(np.diff(np.sign(wave))) / 0.91 == pytest.approx(5.0, abs=1.0)
    fallen = semitones(replace(still, fall=1.0))
    assert fallen[-1] < 63


def test_joined_notes_are_struck_once() -> None:
    notes = [Note(0.5 + 0.4 * k, 0.9 + 0.4 * k, 60 + 2 * k, 0.8) for k in range(4)]
    style = line.LineStyle("fretted", 1.0, 5, (0.012, 0.05), fretted=True, vibrato=0.0, drift=0.0, intonation=0.0)
    joined, struck = play("electric_guitar", style, notes), play("electric_guitar", replace(style, legato=0.0), notes)
    middles = [round(100 * (0.75 + 0.4 * k)) for k in range(4)]
    for played in (joined, struck):
        assert 12 * np.log2(played.f0_hz[middles] / 440) + 69 == pytest.approx([60.12, 62.12, 64.12, 66.12], abs=0.05)

    def attack(y: np.ndarray, at_s: float) -> float:
        k = round(at_s * SR)
        return decibels(np.mean(y[k : k + 441] ** 2)) - decibels(np.mean(y[k - 882 : k - 441] ** 2))

    assert attack(struck.audio, 1.3) > attack(joined.audio, 1.3) + 3


# -- players ------------------------------------------------------------------------------------------------------


def test_palm_mutes_die_at_once() -> None:
    instrument = instruments.make_instrument("electric_guitar", None, np.random.default_rng(0))

    def level_after(technique: str) -> float:
        y = playing.sound(instrument, Note(0, 0.3, 45, 0.9, technique=technique), 110.0, np.random.default_rng(0))
        return decibels(np.mean(y[int(0.15 * SR) : int(0.25 * SR)] ** 2)) - decibels(np.mean(y[:2205] ** 2))

    assert level_after("palm_mute") < level_after("") - 15


def test_power_chords_have_mutes_and_accents() -> None:
    score = composer.compose(0, duration_s=20.0, style="rock")
    techniques: dict[str, int] = {"": 0, "palm_mute": 0}
    for seed in range(60):
        events = guitar_figures.power_figure(score.grid, score.chords[0], np.random.default_rng(seed))
        assert events[0].step == 0
        assert all(a.step + a.length <= score.chords[0].n_steps + 3 for a in events)
        for event in events:
            techniques[event.technique] += 1
        if any(e.technique for e in events):
            assert not events[0].technique  # a new chord rings
    assert 0.2 < techniques["palm_mute"] / sum(techniques.values()) < 0.8


def test_doubled_power_chords_are_two_takes() -> None:
    def doubled(seed: int) -> bool:
        score = composer.compose(seed, duration_s=10.0, style="punk")
        return any(p.kind == "power" and p.notes for p in score.players)

    widths, mutes = [], 0
    for seed in [s for s in range(30) if doubled(s)][:4]:
        score = composer.compose(seed, duration_s=10.0, style="punk")
        score.players = [p for p in score.players if p.kind == "power"][:1]
        n = round(score.duration_s * SR)
        track, lines = others.play_others(score, n, None, n // 441 + 1)
        assert lines == []
        [chosen] = track.choices["players"]
        left, right = track.dry
        same = float(np.corrcoef(left, right)[0, 1])
        if chosen["doubled"]:
            assert len(chosen["amplifiers"]) == 2
            widths.append(same)
        else:
            assert same > 0.99
        mutes += sum(e.get("technique") == "palm_mute" for e in track.notes)
    assert widths
    assert max(widths) < 0.5
    assert mutes > 0


def test_tunes_stand_where_the_singer_would() -> None:
    scores = [composer.compose(seed, duration_s=24.0) for seed in range(160)]
    alone = [s for s in scores if s.lineup == "instrumental"]
    with_tune = [s for s in alone if any(p.kind == "tune" for p in s.players)]
    assert 0.08 < len(alone) / len(scores) < 0.2
    assert len(with_tune) > 0.7 * len(alone)
    fitting: list[bool] = []
    for score in with_tune:
        assert not score.slots
        [player] = [p for p in score.players if p.kind == "tune"]
        places = form.slots_of(score, player.name)
        assert places
        inside = [any(s.section.start_s - 0.6 < n.start_s < s.section.end_s for s in places) for n in player.notes]
        assert all(inside[len(inside) // 10 :])  # a pick-up may come before
        chordal = [score.chord_at(n.start_s + 0.02).scale for n in player.notes]
        fitting += [round(n.midi) % 12 in scale for n, scale in zip(player.notes, chordal)]
    assert np.mean(fitting) > 0.9
    beside = [s for s in scores if s.lineup == "full" and any(p.kind == "tune" and p.notes for p in s.players)]
    assert 0.1 < len(beside) / sum(s.lineup == "full" for s in scores) < 0.32


def test_instrumental_songs_have_a_lead_and_no_voice() -> None:
    def wanted(score: composer.Score) -> bool:
        tunes = [p for p in score.players if p.kind == "tune" and p.family in line.TECHNIQUES and len(p.notes) > 8]
        return score.lineup == "instrumental" and bool(tunes)

    seed = next(s for s in range(300) if wanted(composer.compose(s, duration_s=12.0)))
    song = generate_song(seed, duration_s=12.0)
    assert not np.any(song.stems["vocals"])
    assert song.truth.f0["vocals"] == []
    assert song.truth.lyrics == {"words": [], "lines": []}
    [tune] = [entry for entry in song.truth.f0["other"] if entry["player"].startswith("tune")]
    assert np.mean(np.asarray(tune["f0_hz"]) > 0) > 0.2
    assert len(tune["f0_hz"]) == len(tune["times_s"])
    [chosen] = [p for p in song.truth.choices["other"]["players"] if p["kind"] == "tune"]
    assert set(chosen["line"]) >= {"technique", "bend", "vibrato_hz"}
    assert sum(chosen["gestures"].values()) > 0


def test_tunes_are_heard_at_their_pitch_in_songs() -> None:
    checked = 0
    for seed in range(300):
        score = composer.compose(seed, duration_s=12.0)
        score.players = [
            p for p in score.players if p.kind == "tune" and p.family in line.TECHNIQUES and len(p.notes) > 8
        ]
        if not score.players:
            continue
        n = round(score.duration_s * SR)
        track, [(name, f0)] = others.play_others(score, n, None, n // 441 + 1)
        assert name == score.players[0].name
        assert yin_rpa(track.dry.mean(axis=0), f0) > 0.9, (seed, name)
        checked += 1
        if checked == 3:
            break
    assert checked == 3


# -- basses and kick drums ----------------------------------------------------------------------------------------


def test_picks_and_slaps_are_heard_above_400_hz() -> None:
    spec = synths.draw_synth("electric_bass", np.random.default_rng(0))
    note = synths.synth_note(spec, 55.0, 1.0, 0.8, 0) * 0.1
    shares = {}
    for attack in ("finger", "pick", "slap"):
        y = playing.strike_string(note, attack, 0.9, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(y[: SR // 4])) ** 2
        shares[attack] = decibels(power[100:].sum() / power.sum())  # bins of 4 Hz
        hertz, strength = pitch.measure_pitch(y, 55.0)
        assert abs(1200 * np.log2(hertz / 55.0)) < 3
        assert strength > 0.9
    assert shares["pick"] > shares["finger"] + 2
    assert shares["slap"] > shares["pick"] + 2


def test_basses_of_songs_are_driven_and_struck_in_many_ways() -> None:
    seen, amplified = set(), []
    for seed in range(14):
        score = composer.compose(seed, duration_s=8.0, style="funk" if seed % 2 else "rock")
        n = round(score.duration_s * SR)
        track, f0 = playing.play_bass(score, n, None, n // 441 + 1)
        if not score.bass:
            continue
        seen.add(track.choices["attack"])
        amplified.append(track.choices.get("amplifier"))
        assert np.any(f0)
    assert {"finger", "pick", "slap"} == seen
    assert {a["kind"] for a in amplified if a} >= {"crunch", "drive"}
    assert None in amplified
    spec = synths.draw_synth("electric_bass", np.random.default_rng(0))
    note = synths.synth_note(spec, 55.0, 2.0, 0.8, 0) * 0.1

    def shares(y: np.ndarray) -> tuple[float, float]:
        power = spectrum(y[:SR])
        return decibels(power[400:].sum() / power.sum()), decibels(power[40:70].sum() / power.sum())

    clean = shares(note)
    for seed in range(4):
        amplifier = amplifiers.Amplifier.draw("drive", np.random.default_rng(seed), bass=True)
        driven = shares(0.4 * note + 0.6 * amplifier.play(note))
        assert driven[0] > clean[0] + 4
        assert driven[1] > clean[1] - 8


def test_kick_drums_can_be_tuned_to_the_bass() -> None:
    for seed, kind in ((0, "acoustic"), (1, "electronic")):
        kit = instruments.make_kit(kind, None, np.random.default_rng(seed))
        for hertz in (46.2, 58.3):
            kit.tune_kick(hertz)
            y = kit.hit("kick", 0.9, np.random.default_rng(0))[int(0.03 * SR) : int(0.25 * SR)]
            power = np.abs(np.fft.rfft(y * np.hanning(len(y)), 1 << 16)) ** 2
            peak = (20 + np.argmax(power[30:220]) + 10) * SR / (1 << 16)
            octaves = np.log2(peak / hertz)
            assert abs(octaves - round(octaves)) < 0.09, (kind, hertz, peak)
            assert kit.kick_hz == pytest.approx(peak, rel=0.06)


def write_guitar(folder: Path, articulation: str, seconds: float) -> None:
    """One-shots whose names are an octave too high."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = synths.draw_synth("electric_guitar", np.random.default_rng(0))
    for midi, name in ((45, "a3"), (48, "c4"), (52, "e4"), (55, "g4"), (57, "a4")):
        y = synths.synth_note(spec, units.midi_to_hz(midi + 0.2), 2.5, 0.9, 1)[: round(seconds * SR)]
        soundfile.write(folder / f"{articulation}_{name}_rr1.wav", 0.5 * y / np.abs(y).max(), SR)


def test_damped_notes_are_an_instrument_of_their_own(tmp_path: Path) -> None:
    for articulation, seconds in (("black_twang", 2.5), ("black_staccato", 0.5)):
        write_guitar(tmp_path / "notes" / "guitar" / "blackgreen", articulation, seconds)
    bank = NoteBank(build_note_bank(tmp_path / "bank", notes_dir=tmp_path / "notes"))
    assert set(bank.by_family) == {"electric_guitar", "muted_guitar"}
    for names in bank.by_family.values():
        [name] = names
        semitones = [12 * np.log2(e.hertz / 440) + 69 for e in bank.entries(name)]
        assert sorted(semitones) == pytest.approx([45.2, 48.2, 52.2, 55.2, 57.2], abs=0.03)
    muted = Note(0.0, 0.2, 45, 0.9, technique="palm_mute")
    player = composer.Player("power-electric_guitar-1", "power", "electric_guitar", [muted])
    drawn = [others._damped(player, bank, np.random.default_rng(seed)) for seed in range(40)]
    recorded = [i for i in drawn if i is not None and "staccato" in i.name]
    assert 0.2 < len(recorded) / len(drawn) < 0.7
    assert others._damped(replace(player, notes=[Note(0, 1, 45, 0.9)]), bank, np.random.default_rng(0)) is None
