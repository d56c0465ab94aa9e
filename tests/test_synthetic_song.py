"""The generator of songs: is what the truth says what the audio holds?"""

from __future__ import annotations

import json
import shutil
import warnings
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.cli import main
from stemfeatures.constants import STEMS
from stemfeatures.errors import DatasetError
from stemfeatures.generator import units
from stemfeatures.generator.compose import composer
from stemfeatures.generator.compose.styles import STYLES
from stemfeatures.generator.mix import codecs, console, mastering
from stemfeatures.generator.play import instruments, note_bank, pitch, synths
from stemfeatures.generator.sing import singers
from stemfeatures.generator.song import F0_HOP_S, Song, generate_song, write_song

pytest.importorskip("pyworld", reason="singing needs the train extra")
mir_eval = pytest.importorskip("mir_eval")
librosa = pytest.importorskip("librosa")

SR = synths.SR
TRUTH_KEYS = {
    "f0", "notes", "onsets_s", "beats_s", "beat_positions", "downbeats_s", "chords", "key", "keys", "tempo", "sections",
    "lyrics", "choices", "seed", "version", "sample_rate",
}  # fmt: skip


@cache
def song(seed: int, style: str, *, dry: bool = False, seconds: float = 14.0) -> Song:
    return generate_song(seed, duration_s=seconds, style=style, dry=dry)


def first_seed(style: str, wanted, *, seconds: float = 14.0) -> int:
    """The first seed whose score (no audio is made) is ``wanted``."""
    return next(s for s in range(200) if wanted(composer.compose(s, duration_s=seconds, style=style)))


def decibels(y: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(y)) + 1e-12) if y.size else -120.0


def between(y: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    return y[..., max(0, int(start_s * SR)) : max(0, int(end_s * SR))]


def pyin_rpa(y: np.ndarray, f0_hz: np.ndarray, *, fmin: float, fmax: float, frame_length: int) -> float:
    """Raw pitch accuracy of pYIN against the truth, within 50 cents, on the truth's voiced frames."""
    rate = 22_050
    mono = librosa.resample(y.mean(axis=0), orig_sr=SR, target_sr=rate)
    hop = 441  # 20 ms
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimate, _, _ = librosa.pyin(
            mono, fmin=fmin, fmax=fmax, sr=rate, hop_length=hop, frame_length=frame_length, resolution=0.2, fill_na=None
        )
    truth = f0_hz[::2][: len(estimate)]
    estimate = estimate[: len(truth)]
    voiced = truth > 0
    assert voiced.mean() > 0.15, "hardly anything to measure"
    return float(np.mean(np.abs(1200 * np.log2(estimate[voiced] / truth[voiced])) < 50))


# -- the score ----------------------------------------------------------------------------------------------------


def test_scores_are_sound() -> None:
    modes, keys, tempi = set(), set(), []
    for seed in range(80):
        score = composer.compose(seed, duration_s=20.0 + seed)
        modes.add(score.mode)
        keys.add(score.tonic)
        tempi.append(score.tempo)
        assert abs(score.duration_s - (20 + seed)) < max(6.0, 0.2 * (20 + seed))
        assert all(a.end_s == pytest.approx(b.start_s) for a, b in pairwise(score.chords))
        assert score.chords[0].start_s == score.grid.beat_s[score.grid.pickup]
        assert score.chords[-1].end_s == pytest.approx(score.grid.beat_s[-1])
        assert sum(s.n_bars for s in score.sections) == score.grid.n_bars
        assert all(a.end_s <= b.start_s for a, b in pairwise(score.bass))
        for slot in score.slots:
            n = max(1, composer.syllables_that_fit(score, slot))
            sung = composer.melody(score, slot, n, (50, 68), composer.seeded_rng(seed, "test"))
            flat = [note for syllable in sung for note in syllable]
            assert len(sung) == n
            assert all(50 <= note.midi <= 68 and note.end_s > note.start_s for note in flat)
            assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(flat))
    assert modes == {"major", "minor", "dorian", "mixolydian", "lydian", "phrygian"}
    assert keys == set(range(12))
    assert min(tempi) < 66
    assert max(tempi) > 175


def test_parts_play_only_in_their_sections_and_not_in_stops() -> None:
    stops = 0
    for seed in range(50):
        score = composer.compose(seed, duration_s=60.0)
        stops += len(score.stops)
        played = {"bass": score.bass} | {p.name: p.notes for p in score.players}
        for section in score.sections:
            for name, notes in played.items():
                if name not in section.players:  # but for human earliness
                    assert not [n for n in notes if section.start_s + 0.05 < n.start_s < section.end_s - 0.1]
        for start, end in score.stops:
            for note in (n for notes in played.values() for n in notes):
                assert not start < note.start_s < end - 0.05
                assert note.end_s <= start + 1e-9 or note.start_s >= end - 0.05
            assert not [h for h in score.drums if start < h.time_s < end - 0.05]
    assert stops > 3


def test_labels_of_chords_mean_their_notes() -> None:
    foreign = total = 0
    for seed in range(40):
        score = composer.compose(seed, duration_s=40.0)
        for chord in score.chords:
            root, bitmap, _ = mir_eval.chord.encode(chord.label)
            named = {(root + k) % 12 for k in np.flatnonzero(bitmap)}
            assert named == set(chord.pitch_classes), chord
            total += 1
            foreign += not named <= set(chord.scale)
        for player in score.players:
            if player.kind not in ("lead", "riff", "tune"):
                for note in [n for n in player.notes if n.start_s > score.grid.time(0) - 0.05][::7]:  # no pick-ups
                    near = [score.chord_at(note.start_s + late).pitch_classes for late in (-0.05, 0.05)]
                    assert any(note.midi % 12 in tones for tones in near)  # a strum may last into the next chord
    assert 0 < foreign < 0.1 * total  # leading tones of minor keys alone


def test_styles_differ() -> None:
    """A nearest neighbour tells styles by where their drums strike, far better than chance."""

    def pattern(style: str, seed: int) -> np.ndarray:
        score = composer.compose(seed, duration_s=40.0, style=style)
        bins = np.zeros((len(composer.DRUM_KEYS), 16))
        for hit in score.drums:
            bar = np.searchsorted(score.grid.beat_s[:: score.grid.beats_per_bar], hit.time_s + 0.02) - 1
            if bar >= score.grid.n_bars:
                continue
            start = score.grid.time(max(bar, 0))
            place = (hit.time_s - start) / (score.grid.time(max(bar, 0), score.grid.steps) - start)
            bins[list(composer.DRUM_KEYS).index(hit.role), round(16 * place) % 16] += hit.velocity
        tempo = np.array([score.tempo / 30, 4.0 * score.grid.beats_per_bar])
        return np.concatenate([bins.ravel() / max(bins.max(), 1), tempo])

    known = {style: [pattern(style, s) for s in range(4)] for style in STYLES}
    right = []
    for style in STYLES:
        for seed in range(6, 8):
            x = pattern(style, seed)
            guess = min(STYLES, key=lambda other: min(np.linalg.norm(x - y) for y in known[other]))
            right.append(guess == style)
    assert np.mean(right) > 0.5  # chance: 0.08


# -- instruments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", synths.FAMILIES)
def test_synthesised_notes_are_in_tune(family: str) -> None:
    hertz = 61.7 if family.endswith("bass") else 207.3
    for seed in range(3):
        instrument = instruments.make_instrument(family, None, np.random.default_rng(seed))
        y = instrument.note(hertz, 1.5, 0.8, np.random.default_rng(0))
        assert np.isfinite(y).all()
        measured, strength = pitch.measure_pitch(y, hertz * 1.01)
        assert strength > 0.8
        assert abs(1200 * np.log2(measured / hertz)) < 1.0


def test_drum_strokes_differ_by_role_and_velocity_and_never_repeat() -> None:
    kit = instruments.make_kit("acoustic", None, np.random.default_rng(0))
    rng = np.random.default_rng(1)

    def centroid(y: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(y)) ** 2
        return float((power * np.fft.rfftfreq(len(y), 1 / SR)).sum() / power.sum())

    order = [centroid(kit.hit(role, 0.9, rng)) for role in ("kick", "tom_low", "snare", "hat")]
    assert order == sorted(order)
    assert centroid(kit.hit("snare", 0.2, rng)) < centroid(kit.hit("snare", 1.0, rng))
    assert np.abs(kit.hit("snare", 0.2, rng)).max() < 0.3 * np.abs(kit.hit("snare", 1.0, rng)).max()
    strokes = {kit.hit("snare", 0.9, rng).tobytes() for _ in range(20)}
    assert len(strokes) == 3


def _notes_folder(folder: Path, cents: float) -> None:
    """A notes folder whose bass is named an octave too high and ``cents`` sharp."""
    spec = synths.draw_synth("electric_bass", np.random.default_rng(5))
    for name, midi in (("c3", 36), ("e3", 40), ("g3", 43), ("b3", 47), ("d4", 50)):
        for velocity in (1, 2):
            y = synths.synth_note(spec, units.midi_to_hz(midi + cents / 100), 1.6, 0.4 * velocity, 0)
            path = folder / "bass" / "thumb" / f"sustain_{name}_v{velocity}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.2 * velocity * y / np.abs(y).max(), SR, subtype="FLOAT")
    kit = synths.draw_kit(False, np.random.default_rng(5))
    for role in ("kick", "snare", "hihat"):
        path = folder / "drums" / "box" / f"{role}_1.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, synths.synth_hit(kit, {"hihat": "hat"}.get(role, role), 0.9, 1), SR)


def test_bank_of_one_shots_plays_in_tune(tmp_path: Path) -> None:
    _notes_folder(tmp_path / "notes", cents=23.0)
    bank = note_bank.NoteBank(note_bank.build_note_bank(tmp_path / "bank", notes_dir=tmp_path / "notes"))
    assert set(bank.by_family) == {"electric_bass", "acoustic_kit"}
    [name] = bank.by_family["electric_bass"]
    assert sorted({round(12 * np.log2(e.hertz / 440) + 69, 2) for e in bank.entries(name)}) == pytest.approx(
        [36.23, 40.23, 43.23, 47.23, 50.23], abs=0.02
    )
    tones = instruments.SampledTones(bank, name)
    y = instruments.Instrument("electric_bass", tones).note(70.0, 1.2, 0.8, np.random.default_rng(0))
    measured, strength = pitch.measure_pitch(y, 70.0)
    assert strength > 0.8
    assert abs(1200 * np.log2(measured / 70.0)) < 2
    a, b = (generate_song(3, duration_s=8.0, style="rock", notes=n, dry=True) for n in (bank, None))
    assert a.truth.choices["request"]["notes"] == bank.fingerprint
    assert not np.array_equal(a.stems["drums"], b.stems["drums"]) or not np.array_equal(
        a.stems["bass"], b.stems["bass"]
    )


def test_bank_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a bank"):
        note_bank.NoteBank(tmp_path)
    with pytest.raises(DatasetError, match="no SoundFont"):
        note_bank.build_note_bank(tmp_path / "bank")
    with pytest.raises(DatasetError, match="no folders"):
        note_bank.build_note_bank(tmp_path / "bank", notes_dir=tmp_path)


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not note_bank.find_soundfonts(), reason="needs fluidsynth and a SoundFont"
)
def test_soundfont_bass_is_measured(tmp_path: Path) -> None:
    font = note_bank.find_soundfonts()[0]
    [name] = note_bank._render_program(tmp_path, font, "electric_bass", 33)
    entries = json.loads((tmp_path / f"{name}.json").read_text())["samples"]
    semitones = np.array([12 * np.log2(e["hertz"] / 440) + 69 for e in entries])
    assert len(entries) > 20
    assert np.all(np.abs(semitones - np.round(semitones)) < 0.5)
    assert len(np.unique(np.round(semitones))) > 12


# -- the desk -----------------------------------------------------------------------------------------------------


def test_master_keeps_the_sum_and_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(4 * SR) / SR
    beat = 0.3 + 0.7 * np.exp(-((t % 0.5) / 0.1))
    stems = np.stack([np.stack([np.sin(2 * np.pi * f * t) * beat] * 2) for f in (60, 220, 900, 4000)]).astype(
        np.float32
    )
    for seed in range(4):
        settings = mastering.MasterSettings.draw(np.random.default_rng(seed))
        done = mastering.master(stems * np.float32(rng.uniform(0.05, 0.5)), settings)
        mixture = done.sum(axis=0)
        assert np.abs(mixture).max() <= console.from_db(settings.ceiling_db) + 1e-4
        assert mastering.loudness(mixture) == pytest.approx(settings.target_lufs, abs=2.5)
        # One gain over time: at 60 Hz and 4 kHz alike.
        low, high = (done[k][0][SR:] / (stems[k][0][SR:] + 1e-12) for k in (1, 2))
        loud = (np.abs(stems[1][0][SR:]) > 0.05) & (np.abs(stems[2][0][SR:]) > 0.05)
        if not settings.low_cut_hz and not settings.high_cut_hz:
            assert np.allclose(low[loud], high[loud], rtol=1e-3)


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_codecs_come_back_aligned(codec: str) -> None:
    t = np.arange(2 * SR) / SR
    y = np.stack([np.sin(2 * np.pi * 220 * t) * np.exp(-((t % 0.37) / 0.1)) * 0.5] * 2).astype(np.float32)
    back = codecs.codec_round_trip(y, codec, 0.8)
    assert back.shape == y.shape
    assert not np.array_equal(back, y)
    assert 10 * np.log10(np.mean(y**2) / np.mean((back - y) ** 2)) > 20


# -- songs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_files_sum_exactly(tmp_path: Path, subtype: str) -> None:
    seed = first_seed("rock", lambda s: s.slots and s.drums and s.bass and any(p.notes for p in s.players))
    folder = write_song(song(seed, "rock"), tmp_path, subtype=subtype)
    parts = {s: soundfile.read(folder / f"{s}.flac", dtype="int32")[0].astype(np.int64) for s in (*STEMS, "mixture")}
    assert soundfile.info(folder / "mixture.flac").subtype == subtype
    assert np.array_equal(sum(parts[s] for s in STEMS), parts["mixture"])
    assert all(np.any(parts[s]) for s in STEMS)
    truth = json.loads((folder / "truth.json").read_text())
    assert set(truth) == TRUTH_KEYS
    assert truth["sample_rate"] == SR
    assert len(truth["beats_s"]) == len(truth["beat_positions"])
    assert truth["downbeats_s"] == [b for b, p in zip(truth["beats_s"], truth["beat_positions"]) if p == 1]
    for track in (*truth["f0"]["vocals"], truth["f0"]["bass"]):
        assert len(track["times_s"]) == len(track["f0_hz"])
        assert np.allclose(np.diff(track["times_s"]), F0_HOP_S, atol=2e-5)


def test_loudness_is_that_of_records() -> None:
    for seed, style in ((4, "rock"), (1, "four_to_the_floor")):
        made = song(seed, style)
        assert -16 < mastering.loudness(made.mixture) < -7
        assert np.abs(made.mixture).max() <= 1.0
        assert np.array_equal(made.mixture, np.sum([made.stems[s] for s in STEMS], axis=0, dtype=np.float64))


def test_same_seed_same_bytes_whatever_the_jobs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    common = ["generate", "--songs", "2", "--seed", "7", "--duration", "8", "-q"]
    for jobs in ("1", "2"):
        assert main([*common, "--out", str(tmp_path / jobs), "--jobs", jobs]) == 0
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*.*"))
    assert len(files) == 12
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), file
    first, second = (p / "mixture.flac" for p in sorted((tmp_path / "1").iterdir()))
    assert first.read_bytes() != second.read_bytes()
    assert main([*common, "--out", str(tmp_path / "1"), "--style", "rock"]) == 2
    assert main([*common, "--out", str(tmp_path / "1"), "--lineup", "duo"]) == 2
    assert "other options" in capsys.readouterr().err


def test_command_line_complains(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--style polka", "--lineup trio", "--duration 1", "--notes x", f"--voices {tmp_path}"]
    for wrong in (option.split() for option in options):
        code = main(["generate", "--out", str(tmp_path / "out"), "--songs", "1", "--seed", "0", *wrong])
        assert code == 2, wrong
        assert capsys.readouterr().err.startswith("stemfeatures: error: ")


@pytest.mark.parametrize("style", ["pop", "ballad"])
def test_pyin_finds_the_melody(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singers, "MOST_VOICES", 1)  # pYIN hears one voice
    seed = first_seed(style, lambda s: len(s.slots) >= 2)
    made = generate_song(seed, duration_s=14.0, style=style, dry=True)
    assert len(made.truth.f0["vocals"]) == 1
    f0 = np.asarray(made.truth.f0["vocals"][0]["f0_hz"])
    assert pyin_rpa(made.stems["vocals"], f0, fmin=65, fmax=1200, frame_length=1024) >= 0.95


@pytest.mark.parametrize("style", ["rock", "reggae", "hiphop"])
def test_pyin_finds_the_bass(style: str) -> None:
    made = song(first_seed(style, lambda s: len(s.bass) > 10), style, dry=True)
    f0 = np.asarray(made.truth.f0["bass"]["f0_hz"])
    assert pyin_rpa(made.stems["bass"], f0, fmin=29, fmax=400, frame_length=4096) >= 0.95


def test_every_voice_has_its_f0() -> None:
    """Where a harmony sings, the vocals hold energy at both F0s and far less between."""
    for seed in range(40):
        made = song(seed, "pop", dry=True)
        roles = [v["role"] for v in made.truth.choices["vocals"]["voices"]]
        if "harmony" not in roles or roles[0] != "lead":
            continue
        lead, harmony = (np.asarray(made.truth.f0["vocals"][k]["f0_hz"]) for k in (0, roles.index("harmony")))
        both = [k for k in np.flatnonzero((lead > 0) & (harmony > 0)) if abs(12 * np.log2(lead[k] / harmony[k])) > 2.5]
        if len(both) > 100:
            break
    assert len(both) > 100
    mono = made.stems["vocals"].mean(axis=0)
    contrasts = []
    for k in both[::5]:
        at = round(k * F0_HOP_S * SR)
        part = mono[max(0, at - 2048) : at + 2048]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 16_384))
        place = [int(hertz * 16_384 / SR) for hertz in (harmony[k], np.sqrt(lead[k] * harmony[k]))]
        at_harmony, amid = (spectrum[p - 1 : p + 3].max() for p in place)
        contrasts.append(at_harmony / (amid + 1e-9))
    assert np.median(contrasts) > 1.5


@pytest.mark.parametrize("style", ["four_to_the_floor", "rock", "pop"])
def test_beat_tracker_agrees(style: str) -> None:
    def steady(score: composer.Score) -> bool:
        return all("drums" in s.players for s in score.sections) and not score.stops

    made = song(first_seed(style, steady), style)
    mono = librosa.resample(made.stems["drums"].mean(axis=0), orig_sr=SR, target_sr=22_050)
    _, beats = librosa.beat.beat_track(
        y=mono, sr=22_050, start_bpm=made.truth.choices["tempo_bpm"], units="time", trim=False
    )
    truth = np.array(made.truth.beats_s)
    beats = beats[(beats > truth[0] - 0.1) & (beats < truth[-1] + 0.1)]  # it goes on through the silence after
    assert mir_eval.beat.f_measure(truth, beats) > 0.9


def test_silence_where_truth_says_silence() -> None:
    checked = 0
    for seed in range(12):
        made = song(seed, "ballad", dry=True, seconds=20.0)
        n_s = made.duration_s
        for stem in STEMS:
            times = [(e["start_s"], e["end_s"]) for e in made.truth.notes[stem]]
            if stem == "vocals":
                times = [span for voice in made.truth.choices["vocals"]["voices"] for span in voice["deliveries_s"]]
            starts = sorted([*times, (n_s, n_s)])
            silent_from = 0.0
            for start, end in starts:
                if start - silent_from > 0.05:
                    assert decibels(between(made.stems[stem], silent_from, start - 0.02)) < -60, (seed, stem, start)
                    checked += 1
                silent_from = max(silent_from, end + (2.5 if stem != "vocals" else 0.05))
        if checked > 12:
            break
    assert checked > 8


def test_sections_drop_players() -> None:
    def thin(score: composer.Score) -> bool:
        with_bass = [s for s in score.sections if "bass" in s.players]
        without = [s for s in score.sections if "bass" not in s.players and s.end_s - s.start_s > 3]
        return bool(with_bass and without)

    seed = first_seed("pop", thin, seconds=24.0)
    made = song(seed, "pop", seconds=24.0)
    levels = {True: [], False: []}
    for section, arranged in zip(made.truth.sections, made.truth.choices["arrangement"]):
        part = between(made.stems["bass"], section["start_s"] + 1.0, section["end_s"] - 0.2)
        levels["bass" in arranged["players"]].append(decibels(part))
    assert max(levels[False]) < min(levels[True]) - 20


def test_words_are_audible() -> None:
    made = song(first_seed("pop", lambda s: len(s.slots) >= 2), "pop", dry=True)
    words = made.truth.lyrics["words"]
    assert len(words) > 5
    levels = [decibels(between(made.stems["vocals"], w["start_s"], w["end_s"])) for w in words]
    assert min(levels) > -50
    outside = made.stems["vocals"].copy()
    for word in words:
        between(outside, word["start_s"] - 0.1, word["end_s"] + 0.1)[:] = 0
    assert np.sum(outside**2) < 0.02 * np.sum(made.stems["vocals"] ** 2)
    for line in made.truth.lyrics["lines"]:
        inside = [w["word"] for w in words if line["start_s"] <= w["start_s"] < line["end_s"]]
        assert " ".join(inside) == line["text"]


def test_chroma_of_other_agrees_with_the_chords() -> None:
    def chordal(score: composer.Score) -> bool:
        full = [p for p in score.players if p.kind in ("pad", "block", "strum", "arpeggio")]
        return bool(full) and all(set(s.players) & {p.name for p in full} for s in score.sections) and not score.power

    qualities = {"maj": (0, 4, 7), "min": (0, 3, 7)}
    templates = {(r, q): np.isin((np.arange(12) - r) % 12, tones) for r in range(12) for q, tones in qualities.items()}
    right = []
    for style in ("ballad", "pop", "six_eight"):
        made = song(first_seed(style, chordal), style)
        mono = librosa.resample(made.stems["other"].mean(axis=0), orig_sr=SR, target_sr=22_050)
        chroma = librosa.feature.chroma_cqt(y=mono, sr=22_050, hop_length=1024)
        for chord in made.truth.chords:
            frames = slice(int(chord["start_s"] * 22_050 / 1024) + 1, int(chord["end_s"] * 22_050 / 1024))
            vector = chroma[:, frames].mean(axis=1)
            if not vector.any():
                continue
            vector = vector - vector.mean()
            best = max(templates, key=lambda k: vector @ (templates[k] - 0.25))
            root, bitmap, _ = mir_eval.chord.encode(chord["label"])
            named = {(root + k) % 12 for k in np.flatnonzero(bitmap)}
            right.append(
                set(np.flatnonzero(templates[best])) <= named or len(set(np.flatnonzero(templates[best])) & named) > 2
            )
    assert len(right) > 8
    assert np.mean(right) > 0.6  # chance: about 0.05


def test_stream_gives_tensors_that_agree_with_the_songs() -> None:
    import torch

    from stemfeatures.generator.stream import SyntheticSongs

    songs = SyntheticSongs(5, excerpt_s=2.0, song_s=8.0, excerpts_per_song=2, codec_chance=0.0)
    loader = torch.utils.data.DataLoader(songs, batch_size=2)
    batch = next(iter(loader))
    assert batch["stems"].shape == (2, 4, 2, 2 * SR)
    assert torch.equal(batch["stems"].double().sum(1).float(), batch["mixture"])
    assert batch["vocals_f0_hz"].shape == (2, 4, 201)
    assert batch["onset"].shape == (2, 4, 201)
    again = songs.song(0)
    assert torch.equal(again[0]["stems"], batch["stems"][0])
    whole = generate_song(int(again[0]["seed"]), duration_s=8.0)
    start = float(again[0]["start_s"])
    expected = whole.truth.f0["bass"]["f0_hz"][round(100 * start) :][:201]
    assert np.allclose(again[0]["bass_f0_hz"][: len(expected)], expected, rtol=1e-6)
    beats = [b for b in whole.truth.beats_s if 0.01 < b - start < 1.99]
    assert abs(int(again[0]["beat"].sum()) - len(beats)) <= 1
    assert not torch.equal(songs.song(1)[0]["stems"], again[0]["stems"])


def test_wrong_wishes() -> None:
    with pytest.raises(ValueError, match="unknown style"):
        generate_song(0, style="polka")
    with pytest.raises(ValueError, match="lasts"):
        generate_song(0, duration_s=1.0)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the report extra")
    from stemfeatures.generator.plot import plot_song

    path = plot_song(song(4, "rock"), tmp_path / "song.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 50_000
