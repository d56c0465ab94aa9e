"""The vocals of generated songs: pitch, voicing, words and real recordings against measurements of the audio alone."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from singing_helper import pyin_rpa, yin_rpa

from pipelines.cli import main
from stemfeatures.errors import DatasetError
from stemfeatures.generator.compose import composer
from stemfeatures.generator.mix import console
from stemfeatures.generator.sing import recording_bank, singers, vocals, voice, wordless
from stemfeatures.generator.sing.recorded_vocals import notes_of
from stemfeatures.generator.sing.recording_bank import RecordingBank, build_recording_bank, periodicity
from stemfeatures.generator.sing.vocals import _follow_lead, sing_score
from stemfeatures.generator.sing.voice import Line, Sung, SungNote, VoiceBank, VoiceStyle, sing, speak
from stemfeatures.generator.song import F0_HOP_S, generate_song

pytest.importorskip("pyworld", reason="singing needs the train extra", exc_type=ImportError)
librosa = pytest.importorskip("librosa")

SR = 44_100
BANK = VoiceBank.default()
F0_RANGE = {"fmin": 65, "fmax": 1200}


@dataclass
class Vocals:
    """What is sung in a song, without band and room: ``y`` (2, n)."""

    y: np.ndarray
    f0: list[np.ndarray]
    notes: list[dict]
    lyrics: dict
    choices: dict


@cache
def sung(
    seed: int,
    style: str | None = None,
    recordings: RecordingBank | None = None,
    *,
    voices: int = 1,
    seconds: float = 14.0,
) -> Vocals:
    score = composer.compose(seed, duration_s=seconds, style=style)
    n = round(score.duration_s * SR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(singers, "MOST_VOICES", voices)
        patch.setattr(vocals, "_STRAINED", (0.0, 0.0))  # trackers take the subharmonics of rough voices for their pitch
        track, f0, lyrics = sing_score(score, n, BANK, int(n / SR / F0_HOP_S) + 1, recordings)
    return Vocals(track.dry, f0, track.notes, lyrics, track.choices)


def singing_seeds(style: str | None = None) -> list[int]:
    """Seeds of songs whose lead has much to sing."""
    scores = (composer.compose(seed, duration_s=14.0, style=style) for seed in range(200))
    return [score.seed for score in islice((s for s in scores if len(s.slots) >= 3), 3)]


# -- pitch and voicing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(3))
def test_pitch_trackers_hear_the_truth(k: int) -> None:
    song = sung(singing_seeds()[k])
    y, f0 = song.y, song.f0[0]
    assert pyin_rpa(y, SR, f0, frame_length=1024, **F0_RANGE) >= 0.95
    on_time = yin_rpa(y, SR, f0, **F0_RANGE)  # no smoothing, no memory
    assert on_time >= 0.93
    late = np.concatenate([np.zeros(6), f0[:-6]])
    assert yin_rpa(y, SR, late, **F0_RANGE) < on_time - 0.07  # it would notice 60 ms
    assert yin_rpa(y, SR, f0 * 2 ** (0.7 / 12), **F0_RANGE) < 0.15  # and 70 cents


def test_voiced_is_what_is_heard_to_be_voiced() -> None:
    """Compression lifts tails: nothing voiced may be inaudible, nothing around it periodic and loud but unvoiced."""
    missed = total = 0
    for seed in singing_seeds():
        song = sung(seed)
        y, f0 = song.y.mean(axis=0), song.f0[0]
        at = np.round(np.arange(len(f0)) * F0_HOP_S * SR).astype(int)
        power = np.array([np.mean(np.square(y[max(a - 441, 0) : a + 441])) for a in at])
        level = 10 * np.log10(power + 1e-14) - console.to_db(console.active_rms(y))
        voiced = np.flatnonzero(f0 > 0)
        assert level[voiced].min() > -45
        apart = np.abs(np.arange(len(f0))[:, None] - voiced[None]).min(axis=1)
        around = np.flatnonzero((apart > 0) & (apart <= 12) & (level > -35))
        for k in around:
            curve = np.zeros(2 * len(f0))
            curve[2 * k] = np.interp(k, voiced, f0[voiced])
            whole, _ = periodicity(y, SR, curve)
            missed += int(len(whole) > 0 and whole[0] > 0.95)
        total += len(voiced)
    assert total > 1000
    assert missed < 0.01 * total


# -- words --------------------------------------------------------------------------------------------------------


def mfcc(y: np.ndarray) -> np.ndarray:
    """(19, frames of 5 ms), without level, mean and spread."""
    y = soxr.resample(y, SR, 16_000).astype(np.float32)
    found = librosa.feature.mfcc(
        y=y, sr=16_000, n_mfcc=20, n_fft=512, win_length=400, hop_length=80, n_mels=40, fmin=100, fmax=7600
    )[1:]
    return (found - found.mean(axis=1, keepdims=True)) / (found.std(axis=1, keepdims=True) + 1e-6)


def test_words_begin_when_the_truth_says() -> None:
    """Sung lines are aligned to the same words spoken: half of the words begin within 20 ms of the truth."""
    errors = []
    for style, seed in [(s, seed) for s in ("pop", "ballad", "rock") for seed in singing_seeds(s)]:
        song = sung(seed, style)
        name = song.choices["voices"][0]["singer"]
        known = {line.text: line for line in BANK.lines(name)}
        for line in song.lyrics["lines"]:
            if line["text"] not in known:
                continue
            spoken = speak(BANK, name, known[line["text"]], 1.0, VoiceStyle(), np.random.default_rng(0))
            begin = max(line["start_s"] - 0.1, 0.0)
            part = song.y.mean(axis=0)[int(begin * SR) : int((line["end_s"] + 0.1) * SR)]
            _, path = librosa.sequence.dtw(mfcc(spoken.audio), mfcc(part), metric="cosine")
            path = path[::-1].astype(float)
            path[:, 0] += 1e-6 * np.arange(len(path))
            words = [w for w in song.lyrics["words"] if line["start_s"] <= w["start_s"] < line["end_s"]]
            for (word, start, _), truth in zip(spoken.words, words, strict=True):
                assert word == truth["word"]
                found = begin + 0.005 * np.interp((start - spoken.start_s) / 0.005, path[:, 0], path[:, 1])
                errors.append(found - truth["start_s"])
    assert len(errors) > 25
    assert np.median(np.abs(errors)) < 0.02
    assert np.median(np.abs(np.array(errors) + 0.06)) > 0.05  # it would notice 60 ms
    assert np.mean(np.abs(errors) < 0.1) > 0.8


def test_hissing_words_begin_with_a_hiss() -> None:
    """Words in s or sh: the nearest place where high frequencies break in is the word's start."""
    errors = []
    for style, seed in [(s, seed) for s in ("pop", "ballad", "rock", None) for seed in singing_seeds(s)]:
        song = sung(seed, style)
        words = [w for w in song.lyrics["words"] if re.match(r"s[^h]|sh", w["word"])]
        if not words:
            continue
        power = np.abs(librosa.stft(song.y.mean(axis=0), n_fft=512, hop_length=88)) ** 2
        hertz = np.arange(257) * SR / 512
        high, low = power[hertz > 4500].sum(axis=0), power[(hertz > 100) & (hertz < 3000)].sum(axis=0)
        hiss = (high > 2 * low) & (high > 1e-4 * np.percentile(power.sum(axis=0), 95))
        breaks_in = np.flatnonzero(hiss[3:] & ~hiss[2:-1] & ~hiss[1:-2] & ~hiss[:-3]) + 3
        assert len(breaks_in)
        errors += [np.abs(breaks_in * 88 / SR - w["start_s"]).min() for w in words]
    assert len(errors) >= 10
    assert np.median(errors) < 0.015
    assert np.mean(np.array(errors) < 0.05) > 0.85


def plain(bank: VoiceBank, singer: str, line: Line, notes: list, *_: object) -> Sung:
    """In place of ``sing`` where the sound does not matter."""
    times = np.arange(notes[0][0].start_s, notes[-1][-1].end_s, 0.005)
    y = np.full(int(len(times) * 0.005 * SR), 0.1, np.float32)
    return Sung(y, times[0], times, np.full(len(times), 200.0), [(line.text, times[0], times[-1])])


def test_songs_have_all_that_voices_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(bank: VoiceBank, singer: str, line: Line, start_s: float, *_: object, shout: bool = False) -> Sung:
        seen["shouted" if shout else "spoken"] += 1
        return plain(bank, singer, line, [[SungNote(start_s, 1.0, 60)]])

    seen: Counter = Counter()
    for module in (voice, wordless):
        monkeypatch.setattr(module, "sing", plain)
        monkeypatch.setattr(module, "speak", said)
    for seed in range(36):
        choices = sung(seed, (None, "hiphop")[seed % 2], voices=4, seconds=16.0).choices
        seen.update({v["role"] for v in choices["voices"]} | (set(choices) & {"breaths", "vocalises"}))
    sung.cache_clear()
    wanted = ("lead", "double", "harmony", "choir", "shout", "breaths", "vocalises", "spoken", "shouted")
    assert min(seen[what] for what in wanted) > 0, seen
    assert seen["breaths"] > 15, seen


def test_truth_of_choirs_shouts_and_breaths(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a pitch has an F0 where it sounds and nowhere else; breaths are heard and have none."""
    monkeypatch.setattr(wordless, "_CHOIR", 1.0)
    monkeypatch.setattr(wordless, "_SHOUTS", {"": 1.0})
    monkeypatch.setattr(VoiceStyle, "draw", classmethod(lambda cls, _: cls(breath=1.0)))
    seen: Counter = Counter()
    for seed in singing_seeds("rock"):
        song = sung(seed, "rock", voices=4, seconds=10.0)
        for f0, who in zip(song.f0, song.choices["voices"], strict=True):
            seen[who["role"]] += 1
            inside = np.zeros(len(f0), bool)
            for start, end in who["deliveries_s"]:
                inside[int(start / F0_HOP_S) : int(end / F0_HOP_S) + 2] = True
            assert not f0[~inside].any()
            assert np.mean(f0[inside] > 0) > 0.25
        for breath in song.choices.get("breaths", ()):
            at = slice(int(breath["start_s"] / F0_HOP_S) + 1, int(breath["end_s"] / F0_HOP_S) - 1)
            roles = [v["role"] for v in song.choices["voices"]]
            if breath["role"] == "lead" and not any(f0[at].any() for f0 in song.f0):
                assert "lead" in roles
                heard = song.y[:, int(breath["start_s"] * SR) : int(breath["end_s"] * SR)]
                assert console.to_db(float(np.sqrt(np.mean(heard**2)))) > -65
                seen["breath"] += 1
    assert min(seen[what] for what in ("lead", "choir", "shout", "breath")) > 0, seen


# -- recordings ---------------------------------------------------------------------------------------------------

MAJOR = (0, 2, 4, 5, 7, 9, 11)


def phrase(singer: str, seed: int, tonic: int) -> tuple[np.ndarray, np.ndarray]:
    """A sung line in a major key and its F0 every 5 ms from the first sample on."""
    rng = np.random.default_rng(seed)
    line = [x for x in BANK.lines(singer) if 3 <= x.syllables <= 6][seed % 4]
    low, _ = BANK.range_midi(singer)
    notes, t, degree = [], 0.3, int(rng.integers(0, 5))
    for _ in range(line.syllables):
        duration = float(rng.choice([0.3, 0.45, 0.6]))
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, 9))
        midi = tonic % 12 + 12 * (1 + int(low - tonic % 12) // 12) + 12 * (degree // 7) + MAJOR[degree % 7]
        notes.append([SungNote(t, duration, midi)])
        t += duration
    style = VoiceStyle(vibrato=0.0, intonation=0.0, drift=0.01, scoop=0.1, breath=0.0)
    sung = sing(BANK, singer, line, notes, style, rng)
    return sung.audio, sung.f0_hz


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two singers, and much that is not one clear voice."""
    root = tmp_path_factory.mktemp("singing")
    for name in ("ann", "bo", "other", "secret"):
        (root / name).mkdir()
    for k in range(6):
        y, _ = phrase("f1", k, 3)
        soundfile.write(root / "ann" / f"line-{k}-Eb-major-120-bpm.wav", soxr.resample(y, SR, 48_000), 48_000)
        y, _ = phrase("m1", 10 + k, 7)
        soundfile.write(root / "bo" / f"line_{k}.flac", y, SR)
    two = phrase("f1", 0, 3)[0], phrase("f4", 1, 8)[0]
    n = min(len(y) for y in two)
    soundfile.write(root / "other" / "duet.wav", 0.5 * (two[0][:n] + two[1][:n]), SR)
    noise = np.random.default_rng(0).standard_normal(2 * SR)
    soundfile.write(root / "other" / "whisper.wav", 0.05 * noise, SR)
    soundfile.write(root / "other" / "silence.wav", np.zeros(SR), SR)
    (root / "other" / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(root / "secret" / "kept-out.wav", phrase("f4", 2, 0)[0], SR)
    gap = np.zeros(SR)
    soundfile.write(
        root / "other" / "three.wav", np.concatenate([p for k in range(3) for p in (phrase("f4", k, 0)[0], gap)]), SR
    )
    return root


@pytest.fixture(scope="module")
def bank(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RecordingBank:
    out = tmp_path_factory.mktemp("bank")
    return RecordingBank(build_recording_bank(folder, out, held_out=["secret/*"], jobs=2))


def test_bank_keeps_clear_voices_and_splits_at_rests(bank: RecordingBank) -> None:
    files = Counter(p.path for p in bank.phrases)
    assert sum(v for p, v in files.items() if p.startswith("ann/")) == 6
    assert sum(v for p, v in files.items() if p.startswith("bo/")) >= 5
    assert files["other/three.wav"] == 3
    assert not {"other/duet.wav", "other/whisper.wav", "other/silence.wav", "other/broken.wav"} & set(files)
    assert "secret/kept-out.wav" not in files
    assert bank.held_out == ["secret/*"]
    ann = [p for p in bank.phrases if p.voice == "ann"]
    assert {(p.tonic, p.minor, p.bpm) for p in ann} == {(3, False, 120.0)}
    assert set(bank.by_voice) >= {"ann", "bo"}


def test_bank_has_the_f0_that_was_sung(bank: RecordingBank) -> None:
    near, found_voiced, voiced = [], 0, 0
    for k, entry in enumerate(bank.phrases):
        if entry.voice != "ann":
            continue
        _, truth = phrase("f1", int(re.search(r"line-(\d)", entry.path)[1]), 3)
        found = bank.f0(k)
        assert abs(len(found) * 0.005 - entry.duration_s) < 0.02
        assert len(bank.recording(k).samples) == entry.length
        truth = truth[round(entry.at_s / 0.005) :][: len(found)]
        found = found[: len(truth)]
        both = (truth > 0) & (found > 0)
        near += list(np.abs(1200 * np.log2(found[both] / truth[both])) < 50)
        voiced, found_voiced = voiced + np.count_nonzero(truth), found_voiced + np.count_nonzero(both)
    assert found_voiced > 0.97 * voiced
    assert np.mean(near) > 0.94


def recorded_seeds(most: int, role_below: float = 0.25) -> list[int]:
    """Seeds whose lead is a recording."""
    chosen = (
        seed for seed in range(400)
        if composer.seeded_rng(seed, "recordings").random() < role_below
        and len(composer.compose(seed, duration_s=14.0).slots) >= 3
    )  # fmt: skip
    return list(islice(chosen, most))


@pytest.mark.parametrize("k", range(3))
def test_recordings_sing_in_the_songs_key_with_the_f0_that_is_told(bank: RecordingBank, k: int) -> None:
    seed = recorded_seeds(3)[k]
    song = sung(seed, None, bank)
    choices = song.choices
    assert [v["role"] for v in choices["voices"]] == ["lead"]
    assert choices["voices"][0]["singer"] in ("ann", "bo")
    assert {c["path"] for c in choices["recordings"]} <= {p.path for p in bank.phrases}
    assert song.lyrics["words"] == []
    y, f0 = song.y, song.f0[0]
    assert pyin_rpa(y, SR, f0, frame_length=1024, **F0_RANGE) >= 0.95
    # YIN alone takes an octave above in some phrases; pYIN has said which octave it is.
    assert yin_rpa(y, SR, f0, chroma=True, **F0_RANGE) >= 0.92
    score = composer.compose(seed, duration_s=14.0)
    notes = song.notes
    assert len(notes) > 5
    weights, fits = [], []
    for note in notes:
        pitch = note["midi"] - score.tuning / 100
        chord = score.chord_at(note["start_s"] + 0.05)
        tones = {*chord.scale, *chord.pitch_classes}
        weights.append(note["end_s"] - note["start_s"])
        fits.append(min(abs((pitch - tone + 6) % 12 - 6) for tone in tones) < 0.4)
    assert np.average(fits, weights=weights) > 0.75  # chance: 0.47


def test_recordings_are_used_in_a_third_of_the_songs_and_as_ad_libs(bank: RecordingBank) -> None:
    roles = Counter()
    for seed in range(40):
        cast = singers.Cast(composer.compose(seed, duration_s=14.0), BANK, 14 * SR, 1401)
        cast.engage("lead", "f1")
        part = recorded_role(cast, bank)
        roles[part.singer.role if part else ""] += 1
    assert 6 <= roles["lead"] + roles["feature"] <= 22
    assert roles["adlib"] > 0
    assert roles[""] > 10


def recorded_role(cast: singers.Cast, bank: RecordingBank):
    from stemfeatures.generator.sing.recorded_role import RecordedRole

    return RecordedRole.draw(cast, bank)


def test_ad_libs_are_a_voice_of_their_own(bank: RecordingBank) -> None:
    seeds = (s for s in range(300) if 0.35 <= composer.seeded_rng(s, "recordings").random() < 0.5)
    for seed in islice(seeds, 12):
        song = sung(seed, None, bank, voices=4)
        roles = [v["role"] for v in song.choices["voices"]]
        if "adlib" in roles:
            assert np.any(song.f0[roles.index("adlib")])
            return
    pytest.fail("no ad-lib in twelve songs")


def test_same_recordings_same_song(bank: RecordingBank) -> None:
    seed = recorded_seeds(1)[0]
    first, again = (generate_song(seed, duration_s=8.0, recordings=bank) for _ in range(2))
    assert first.stems["vocals"].tobytes() == again.stems["vocals"].tobytes()
    assert first.truth.choices["request"]["recordings"] == bank.fingerprint
    assert first.truth.to_json() == again.truth.to_json()
    without = generate_song(seed, duration_s=8.0)
    assert first.stems["vocals"].tobytes() != without.stems["vocals"].tobytes()


def test_bank_errors(tmp_path: Path, folder: Path, bank: RecordingBank) -> None:
    with pytest.raises(DatasetError, match="no recordings"):
        build_recording_bank(tmp_path, tmp_path / "bank")
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(SR), SR)
    with pytest.raises(DatasetError, match="no phrase of one clear voice"):
        build_recording_bank(tmp_path, tmp_path / "bank")
    with pytest.raises(DatasetError, match="not a bank of recordings"):
        RecordingBank(tmp_path)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in bank.path.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    np.save(damaged / "audio.npy", np.zeros(5, np.int16))
    with pytest.raises(DatasetError, match="do not belong together"):
        RecordingBank(damaged)
    index = json.loads((damaged / recording_bank.INDEX).read_text())
    (damaged / recording_bank.INDEX).write_text(json.dumps(index | {"version": 0}))
    with pytest.raises(DatasetError, match="bank version 0, expected"):
        RecordingBank(damaged)


def test_a_bank_tells_when_its_recordings_are_no_longer_those_it_was_made_of(
    tmp_path: Path, bank: RecordingBank, capsys: pytest.CaptureFixture
) -> None:
    source, copy = tmp_path / "singing", tmp_path / "bank"
    shutil.copytree(bank.path, copy)
    index = json.loads((copy / recording_bank.INDEX).read_text())
    assert set(index["files"]) >= {p.path for p in bank.phrases}
    assert not any(path.startswith("secret/") for path in index["files"])
    source.mkdir()
    for name in ("a.wav", "b.wav"):
        (source / name).write_bytes(name.encode())
    (source / "secret").mkdir()
    (source / "secret" / "c.wav").touch()
    index["files"] = {name: zlib.crc32(name.encode()) for name in ("a.wav", "b.wav")}
    (copy / recording_bank.INDEX).write_text(json.dumps(index))
    RecordingBank(copy).check_source(source)
    (source / "new.wav").symlink_to("nowhere")
    with pytest.raises(DatasetError, match=r"new\.wav was added"):
        RecordingBank(copy).check_source(source)
    (source / "new.wav").unlink()
    (source / "b.wav").write_bytes(b"B.wav")
    with pytest.raises(DatasetError, match=r"b\.wav was changed"):
        RecordingBank(copy).check_source(source)
    (source / "b.wav").unlink()
    common = ["generate", "--songs", "1", "--seed", "1", "--out", str(tmp_path / "out"), "--recordings", str(source)]
    (tmp_path / "held_out.txt").write_text("secret/*\n")
    assert main([*common, "--recordings-bank", str(copy), "--held-out", str(tmp_path / "held_out.txt")]) == 2
    assert "b.wav was removed" in capsys.readouterr().err
    del index["files"]
    (copy / recording_bank.INDEX).write_text(json.dumps(index))
    with pytest.raises(DatasetError, match="before banks knew their files"):
        RecordingBank(copy).check_source(source)


def test_command_line_takes_recordings(
    tmp_path: Path, folder: Path, bank: RecordingBank, capsys: pytest.CaptureFixture
) -> None:
    seed = recorded_seeds(1)[0]
    common = ["generate", "--songs", "1", "--seed", str(seed), "--duration", "8", "--out", str(tmp_path / "out")]
    assert main([*common, "--recordings", str(folder)]) == 2
    assert "say where they go with --recordings-bank" in capsys.readouterr().err
    (tmp_path / "held_out.txt").write_text("ann/*\n")
    held = ["--held-out", str(tmp_path / "held_out.txt")]
    assert main([*common, "--recordings", str(bank.path), *held]) == 2
    assert "made without holding out ann/*" in capsys.readouterr().err
    (tmp_path / "nothing.txt").write_text("secret/*\n")
    assert main([*common, "--recordings", str(bank.path), "--held-out", str(tmp_path / "nothing.txt")]) == 0
    truth = json.loads((tmp_path / "out" / f"{seed:08d}" / "truth.json").read_text())
    assert truth["choices"]["request"]["recordings"] == bank.fingerprint
    assert truth["choices"]["vocals"]["recordings"]


def test_a_harmony_that_does_not_know_the_line_is_told(tmp_path: Path) -> None:
    source = Path(recording_bank.__file__).parents[1] / "banks" / "voices"
    shutil.copy(source / "f1.npz", tmp_path)
    with np.load(source / "m1.npz") as whole:
        few = {
            "lines": whole["lines"][:2],
            "token_start": whole["token_start"][:3],
            "line_start": whole["line_start"][:3],
        }
        np.savez(tmp_path / "m1.npz", **{**whole, **few})
    voices = VoiceBank.load(tmp_path)
    score = composer.compose(singing_seeds()[0], duration_s=14.0)
    cast = singers.Cast(score, voices, 14 * SR, 1401)
    f1, m1 = cast.engage("double", "f1"), cast.engage("harmony", "m1")
    line = next(line for line in voices.lines("f1")[2:] if line.syllables <= 10)
    notes = composer.melody(score, score.slots[0], line.syllables, voices.range_midi("f1"), np.random.default_rng(0))
    for singer in (f1, m1):
        _follow_lead(cast, singer, VoiceStyle(), 0, line, notes, np.random.default_rng(0))
    assert f1.sounds()
    assert not m1.sounds()
    [told] = cast.choices["unsung"]
    assert (told["text"], told["role"], told["singer"]) == (line.text, "harmony", "m1")
    assert abs(told["start_s"] - f1.deliveries[0][0]) < 0.5


def test_voices_can_be_held_out(tmp_path: Path) -> None:
    source = Path(recording_bank.__file__).parents[1] / "banks" / "voices"
    assert VoiceBank.load(source, held_out=["voices/f*.npz"]).singers == ("m1", "m4")
    with pytest.raises(DatasetError, match="no voice"):
        VoiceBank.load(source, held_out=["*.npz"])


def test_notes_of_a_curve() -> None:
    hertz = np.concatenate([np.zeros(20), np.full(60, 220.0), np.full(60, 247.0), np.zeros(10), np.full(6, 300.0)])
    found = notes_of(hertz)
    assert found[0][0] == 20
    assert found[-1][1] == 140
    assert [round(m) for _, _, m in found] == [57, 59]
