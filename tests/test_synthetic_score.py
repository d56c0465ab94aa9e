"""What songs do besides playing through: line-ups, keys and tempi that change, pick-ups, silence, worn recordings."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import hilbert

from stemfeatures.constants import STEMS
from stemfeatures.generator import song, truth
from stemfeatures.generator.compose import composer
from stemfeatures.generator.compose.styles import MODES
from stemfeatures.generator.mix import desk, mastering, tape
from stemfeatures.generator.play import synths

pytest.importorskip("pyworld", reason="singing needs the train extra")

SR = synths.SR


@cache
def scores() -> list[composer.Score]:
    return [composer.compose(seed, duration_s=45.0) for seed in range(150)]


def played(score: composer.Score) -> dict[str, bool]:
    return {
        "drums": bool(score.drums),
        "bass": bool(score.bass),
        "other": any(player.notes for player in score.players),
        "vocals": bool(score.slots),
    }


def test_lineups_are_what_they_say() -> None:
    missing = {
        "instrumental": {"vocals"}, "without_drums": {"drums"}, "without_bass": {"bass"}, "without_other": {"other"},
        "duo": {"drums", "bass"}, "a_cappella": {"drums", "bass", "other"},
    }  # fmt: skip
    seen = set()
    for score in scores():
        seen.add(score.lineup)
        silent = {stem for stem, plays in played(score).items() if not plays}
        assert missing.get(score.lineup, set()) <= silent
        if score.lineup == "duo":
            assert len(score.players) == 1
        if score.lineup != "instrumental":
            assert score.slots
    assert seen == set(composer.LINEUPS)
    assert sum(composer.LINEUPS.values()) == pytest.approx(1.0)


def test_a_lineup_that_is_asked_for() -> None:
    for seed in range(3):
        drawn = composer.compose(seed, duration_s=20.0)
        again = composer.compose(seed, duration_s=20.0, lineup=drawn.lineup)
        assert (again.drums, again.bass, again.slots) == (drawn.drums, drawn.bass, drawn.slots)
        alone = composer.compose(seed, duration_s=20.0, lineup="instrumental")
        assert (alone.lineup, alone.slots) == ("instrumental", [])
        assert alone.players
        assert (alone.tempo, alone.style) == (drawn.tempo, drawn.style)


def test_key_changes_are_in_notes_and_truth() -> None:
    changed, lines = 0, []
    for score in scores():
        keys = truth.structure(score)["keys"]
        assert keys[0]["time_s"] == 0
        assert truth.structure(score)["key"] == keys[0]["key"]
        assert all(a["key"] != b["key"] for a, b in zip(keys, keys[1:]))
        changed += len(keys) > 1
        for section in score.sections:
            [key] = [k["key"] for k in keys if k["time_s"] <= section.start_s + 1e-9][-1:]
            tonic, mode = key.split(":")
            scale = {(composer.NOTE_NAMES.index(tonic) + s) % 12 for s in MODES[mode]}
            inside = [c for c in score.chords if c.bar in section.bars]
            assert all(set(c.scale) == scale for c in inside)
            assert np.mean([set(c.pitch_classes) <= scale for c in inside]) > 0.4  # but for leading tones
            if section.transposition:
                lines += [n.midi % 12 in scale for p in score.players if p.kind == "lead" for n in p.notes
                          if section.start_s + 0.1 < n.start_s < section.end_s - 0.1]  # fmt: skip
    assert np.mean(lines) > 0.95  # in another key, half of the notes would be foreign
    assert 0.1 * len(scores()) < changed < 0.5 * len(scores())


def test_melodies_follow_key_changes() -> None:
    score = next(s for s in scores() if any(x.section.transposition in (1, 3) for x in s.slots))
    slot = next(x for x in score.slots if x.section.transposition)
    inside = []
    for seed in range(20):
        sung = composer.melody(score, slot, 4, (50, 68), composer.seeded_rng(seed, "test"))
        inside += [score.scale_at(n.start_s) for s in sung for n in s if n.midi % 12 in score.scale_at(n.start_s)]
    assert len(inside) > 60  # of 80
    assert score.tonic_at(slot.section.start_s + 0.1) == (score.tonic + slot.section.transposition) % 12


def test_tempo_changes_are_in_the_beats() -> None:
    ritardandi = 0
    for score in scores():
        periods = np.diff(score.grid.beat_s)
        assert periods.min() > 60 / 200
        for section in score.sections:
            beats = [b for b in score.grid.beat_s if section.start_s - 1e-6 < b < section.end_s + 1e-6]
            if section is not score.sections[-1]:
                assert np.median(np.diff(beats)) == pytest.approx(60 / score.tempo / section.tempo, rel=0.06)
        ritardandi += periods[-1] > 1.12 * np.median(periods)
        tempo = truth.structure(score)["tempo"]
        assert tempo[-1]["bpm"] == pytest.approx(60 / periods[-1], rel=1e-3)
    assert sum(len({s.tempo for s in score.sections}) > 1 for score in scores()) > 8
    assert ritardandi > 15


def test_pickups_come_before_the_first_downbeat() -> None:
    kinds = set()
    for score in scores():
        beats, grid = score.grid.beat_s, score.grid
        structure = truth.structure(score)
        assert structure["beat_positions"][grid.pickup] == 1
        assert grid.time(0) in structure["downbeats_s"]
        assert structure["beat_positions"][: grid.pickup] == list(
            range(grid.beats_per_bar - grid.pickup + 1, grid.beats_per_bar + 1)
        )
        before = [h.time_s for h in score.drums if h.time_s < grid.time(0) - 0.06]
        before += [n.start_s for p in (score.bass, *(p.notes for p in score.players)) for n in p
                   if n.start_s < grid.time(0) - 0.06]  # fmt: skip
        assert bool(before) == bool(score.pickup_kind)
        assert all(t > beats[0] - 0.1 for t in before)
        kinds.add(score.pickup_kind)
    assert kinds == {"", "count_in", "fill", "line"}


def test_half_time_has_half_the_backbeats() -> None:
    rates: dict[bool, list[float]] = {True: [], False: []}
    songs = [composer.compose(seed, duration_s=60.0, style="rock") for seed in range(80)]
    for score in (s for s in songs if any(x.half_time for x in s.sections)):
        for section in score.sections:
            hits = [h for h in score.drums if h.role in ("snare", "rim", "clap") and h.velocity > 0.5
                    and section.start_s < h.time_s < section.end_s - 4 * 60 / score.tempo]  # fmt: skip
            if "drums" in section.players and section.n_bars > 2:
                rates[section.half_time].append(len(hits) / (section.n_bars - 1))
    assert len(rates[True]) > 3
    assert np.mean(rates[True]) < 0.75 * np.mean(rates[False])


def test_leading_and_trailing_silence_is_silent() -> None:
    score = next(s for s in scores() if s.lead_out_s > 1)
    made = song.generate_song(score.seed, duration_s=45.0)
    n = round(score.lead_out_s * SR)
    assert not np.any(made.mixture[:, -n:])
    assert np.any(made.mixture[:, -n - SR : -n])
    assert made.truth.choices["lead_out_s"] == pytest.approx(score.lead_out_s)
    assert sum(s.grid.beat_s[0] > 1.2 for s in scores()) > 5


def test_recordings_are_worn_in_every_way() -> None:
    settings = [mastering.MasterSettings.draw(np.random.default_rng(k)) for k in range(300)]
    assert {s.band_limits for s in settings} == set(mastering.BAND_LIMITS)
    assert np.mean([s.clip_db > 0 for s in settings]) == pytest.approx(mastering.CLIPPING, abs=0.08)
    assert max(s.clip_db for s in settings) > 5
    for kind in desk.NOISES:
        y = desk._noise(kind, 2 * SR, np.random.default_rng(0))
        assert np.sqrt(np.mean(y**2)) == pytest.approx(1, abs=1e-3)
        power = np.abs(np.fft.rfft(y[0])) ** 2
        below = power[: 2 * 500].sum() / power.sum()  # bins of half a hertz
        assert {"white": below < 0.05, "pink": 0.3 < below < 0.7, "hum": below > 0.99}[kind]


def test_clipping_flattens_the_peaks_and_keeps_the_sum() -> None:
    rng = np.random.default_rng(0)
    stems = rng.standard_normal((4, 2, 2 * SR)).astype(np.float32) * 0.05
    stems *= 1 + 3 * (rng.random(2 * SR) > 0.999).astype(np.float32)
    settings = mastering.MasterSettings.draw(np.random.default_rng(1))
    crest = {}
    for clip_db in (0.0, 8.0):
        chosen = mastering.MasterSettings(**{**settings.__dict__, "clip_db": clip_db, "target_lufs": -20.0})
        mastered = mastering.master(stems, chosen)
        total = mastered.sum(axis=0)
        crest[clip_db] = np.abs(total).max() / np.sqrt(np.mean(total**2))
    assert crest[8.0] < 0.7 * crest[0.0]


def test_coded_mixture_lies_beside_the_exact_one(tmp_path: Path) -> None:
    made = song.generate_song(4, duration_s=8.0, style="rock", codec_chance=1.0)
    folder = song.write_song(made, tmp_path)
    codec = json.loads((folder / "truth.json").read_text())["choices"]["codec"]
    assert codec["chance"] == 1.0
    assert codec["name"] in ("mp3", "vorbis", "aac")
    whole, coded = (soundfile.read(folder / f"mixture{x}.flac")[0] for x in ("", "_coded"))
    stems = sum(soundfile.read(folder / f"{s}.flac", dtype="int32")[0].astype(np.int64) for s in STEMS)
    assert np.array_equal(stems, soundfile.read(folder / "mixture.flac", dtype="int32")[0])
    assert coded.shape == whole.shape
    assert 5 < 10 * np.log10(np.mean(whole**2) / np.mean((coded - whole) ** 2)) < 60
    plain = song.generate_song(4, duration_s=8.0, style="rock")
    assert plain.coded_mixture is None
    assert np.array_equal(plain.mixture, made.mixture)
    with pytest.raises(ValueError, match="codec_chance"):
        song.generate_song(4, codec_chance=1.5)


def test_low_rates_leave_nothing_above_and_keep_the_sum() -> None:
    stems = np.random.default_rng(0).standard_normal((4, 2, SR)).astype(np.float32) * 0.05
    chosen = mastering.MasterSettings.draw(np.random.default_rng(1)).__dict__
    chosen |= {"low_cut_hz": 0.0, "high_cut_hz": 0.0, "clip_db": 0.0, "target_lufs": -20.0, "width": 1.0}
    for limits, edge in (("16_khz", 8000), ("8_khz", 4000)):
        done = mastering.master(stems, mastering.MasterSettings(**(chosen | {"band_limits": limits})))
        power = np.abs(np.fft.rfft(done[:, 0])) ** 2  # bins of 1 Hz
        assert np.all(power[:, edge + 200 :].mean(axis=1) < 1e-5 * power[:, : edge - 500].mean(axis=1))
        plain = mastering._recorded_at(stems, 2 * edge)
        assert np.allclose(plain.sum(axis=0), mastering._recorded_at(stems.sum(axis=0, keepdims=True), 2 * edge)[0],
                           atol=1e-5)  # fmt: skip


def test_widths_are_those_of_the_settings() -> None:
    settings = [mastering.MasterSettings.draw(np.random.default_rng(k)) for k in range(400)]
    assert np.mean([s.width == 0 for s in settings]) == pytest.approx(0.06, abs=0.03)
    assert np.mean([s.width > 1 for s in settings]) == pytest.approx(0.12, abs=0.05)
    stems = np.random.default_rng(0).standard_normal((4, 2, SR)).astype(np.float32)
    for width in (0.0, 0.5, 1.6):
        done = mastering._widened(stems, width)
        assert np.allclose(done[:, 0] - done[:, 1], width * (stems[:, 0] - stems[:, 1]), atol=1e-5)
        assert np.allclose(done.sum(axis=1), stems.sum(axis=1), atol=1e-5)


def test_worn_tapes_bend_all_stems_and_the_f0_alike() -> None:
    worn = tape.Tape(wow=0.004, wow_hz=0.5, flutter=0.001, flutter_hz=8.0, phase=0.0)
    t = np.arange(6 * SR) / SR
    stems = np.stack([np.stack([np.sin(2 * np.pi * f * t)] * 2) for f in (1000.0, 400.0)]).astype(np.float32)
    played = worn.play(stems)
    assert played.shape == stems.shape
    assert np.allclose(played.sum(axis=0), worn.play(stems.sum(axis=0, keepdims=True))[0], atol=1e-4)
    phase = np.unwrap(np.angle(hilbert(played[0, 0].astype(float))))
    hertz = np.diff(phase) * SR / (2 * np.pi)
    heard = hertz[SR : 5 * SR : 441]
    truth_hz = worn.shift(np.full(600, 1000.0))[100:500]
    assert np.std(truth_hz) > 2.0
    assert np.abs(1200 * np.log2(heard[: len(truth_hz)] / truth_hz)).max() < 1.0
    late = np.cumsum(worn.speed(t)) / SR - t
    assert np.abs(late).max() < 0.003  # beats stay where they are


def test_quiet_stems_are_quiet() -> None:
    drawn = [desk._draw_quiet(np.random.default_rng(k)) for k in range(600)]
    stems = [stem for stem, _ in drawn if stem]
    assert len(stems) / len(drawn) == pytest.approx(desk.QUIET, abs=0.05)
    assert set(stems) == set(STEMS)
    assert max(by for stem, by in drawn if stem == "drums") > 17
    loud = {}
    for by_db in (0.0, 18.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(desk, "_draw_quiet", lambda rng, by_db=by_db: ("drums", by_db))
            score = composer.compose(1, duration_s=8.0, style="rock")
            n = round(score.duration_s * SR)
            noise = np.random.default_rng(0).standard_normal((2, n)).astype(np.float32) * 0.1
            tracks = {s: desk.Track(noise.copy(), np.zeros(n, np.float32)) for s in STEMS}
            stems_made, _, choices = desk.mix(score, tracks, dry=True)
            loud[by_db] = [10 * np.log10(np.mean(y[:, :SR] ** 2)) for y in stems_made]
            assert choices["quiet"] == {"stem": "drums", "by_db": by_db}
    drop = np.subtract(loud[18.0], loud[0.0])
    assert drop[STEMS.index("drums")] - drop[STEMS.index("bass")] == pytest.approx(-18, abs=0.2)
