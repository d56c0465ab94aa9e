"""Sung and spoken lines do what their truth says, judged by ear-like measurements of the audio alone."""

import builtins
import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyworld", reason="singing needs the train extra", exc_type=ImportError)

from scipy.signal import butter, sosfiltfilt

from stemfeatures.errors import AudioError, DatasetError
from stemfeatures.generator.sing import recordings
from stemfeatures.generator.sing.melody import pitch_contour
from stemfeatures.generator.sing.phones import PhoneTimes, align, kind
from stemfeatures.generator.sing.voice import Line, Sung, SungNote, VoiceBank, VoiceStyle, breath, sing, speak

SR = 44_100
BANK = VoiceBank.default()


def melody(singer: str, line: Line, seed: int, shortest: float, longest: float, *, start_s: float = 1.0) -> list:
    rng = np.random.default_rng(seed)
    low, high = BANK.range_midi(singer)
    t, pitch, notes = start_s, round((low + high) / 2), []
    for _ in range(line.syllables):
        duration = rng.uniform(shortest, longest)
        pitch = int(np.clip(pitch + rng.integers(-4, 5), low, high))
        notes.append([SungNote(t, duration, pitch)])
        t += duration
    return notes


def line_of(singer: str, text: str) -> Line:
    return next(line for line in BANK.lines(singer) if line.text == text)


def loudness_db(sung: Sung, begin_s: float, end_s: float) -> float:
    a, b = (max(round((t - sung.start_s) * SR), 0) for t in (begin_s, end_s))
    return 10 * np.log10(np.mean(np.square(sung.audio[a:b], dtype=float)) + 1e-14)


def raw_pitch_accuracy(sung: Sung) -> tuple[float, float]:
    """Part of the truth's voiced frames that pYIN hears within 50 cents, and of its unvoiced ones it hears silent."""
    import librosa
    import soxr

    y = np.pad(soxr.resample(sung.audio, SR, 22_050), 2048)
    f0, voiced, _ = librosa.pyin(y, sr=22_050, fmin=70, fmax=1000, frame_length=1024, hop_length=220, resolution=0.2)
    times = (np.arange(len(f0)) * 220 - 2048) / 22_050 + sung.start_s
    nearest = np.round((times - sung.f0_times_s[0]) / 0.005).astype(int)
    inside = (nearest >= 0) & (nearest < len(sung.f0_hz))
    nearest, f0 = nearest[inside], f0[inside]
    truth = sung.f0_hz[nearest]
    sings = truth > 0
    cents = 1200 * np.abs(np.log2(np.nan_to_num(f0[sings], nan=1.0) / truth[sings]))
    return float(np.mean(cents < 50)), float(np.mean(voiced[inside][sings]))


VIBRATO = VoiceStyle(vibrato=1.0, vibrato_extent=0.6, vibrato_hz=6.0, scoop=0.4, fall=0.4, singers_formant=4.0)


@pytest.mark.parametrize("singer", BANK.singers)
@pytest.mark.parametrize(
    ("text", "shortest", "longest", "style"),
    [
        ("love is all I need from you", 0.2, 0.35, VoiceStyle()),
        ("never going home again", 0.5, 0.9, VIBRATO),
    ],
    ids=["fast", "slow"],
)
def test_pyin_hears_the_written_f0(singer, text, shortest, longest, style):
    line = line_of(singer, text)
    sung = sing(BANK, singer, line, melody(singer, line, 3, shortest, longest), style, np.random.default_rng(4))
    accuracy, recall = raw_pitch_accuracy(sung)
    assert accuracy >= 0.95
    assert recall >= 0.97
    wrong = Sung(sung.audio, sung.start_s, sung.f0_times_s, sung.f0_hz * 2 ** (0.7 / 12))
    assert raw_pitch_accuracy(wrong)[0] < 0.2  # the measure would notice


def test_notes_are_reached():
    singer = BANK.singers[0]
    line = line_of(singer, "stay with me")
    notes = melody(singer, line, 5, 0.5, 0.6)
    style = VoiceStyle(vibrato=0, scoop=0, fall=0, drift=0, jitter=0, intonation=0, overshoot=0)
    sung = sing(BANK, singer, line, notes, style, np.random.default_rng(0))
    for (note,) in notes:
        inside = (sung.f0_times_s > note.start_s + 0.15) & (sung.f0_times_s < note.start_s + 0.35)
        midi = 69 + 12 * np.log2(sung.f0_hz[inside] / 440)
        assert np.abs(midi - note.midi).max() < 0.15


@pytest.mark.parametrize("singer", BANK.singers)
def test_vowels_begin_at_their_notes(singer):
    """After obstruents, where it can be seen: the voice's low band comes up at the note's start."""
    late = []
    sos = butter(2, [200, 1200], "bandpass", fs=SR, output="sos")
    for seed, line in enumerate(BANK.lines(singer)):
        notes = melody(singer, line, seed, 0.2, 0.6)
        sung = sing(BANK, singer, line, notes, VoiceStyle(), np.random.default_rng(seed))
        power = np.convolve(sosfiltfilt(sos, sung.audio) ** 2, np.ones(221) / 221, "same")
        onsets = iter(notes)
        for (before, _, _), (symbol, begin, _) in itertools.pairwise([(" ", 0, 0), *sung.phones]):
            if kind(symbol) != "vowel":
                continue
            start = next(onsets)[0].start_s
            assert begin == pytest.approx(start, abs=1e-9)
            if kind(before) in ("unvoiced", "voiced"):
                at = round((start - sung.start_s) * SR)
                full = np.median(power[at + 1800 : at + 3600])
                quiet = np.flatnonzero(power[max(at - 2646, 0) : at + 1323] < 0.16 * full)
                if len(quiet):
                    late.append((quiet[-1] + max(at - 2646, 0) - at) / SR)
        assert next(onsets, None) is None
    late = np.array(late)
    assert len(late) > 25
    assert np.mean(np.abs(late) < 0.02) >= 0.88
    assert np.abs(np.median(late)) < 0.008
    assert np.abs(late).max() < 0.06


def test_words_are_heard_where_they_are_written_and_rests_are_silent():
    for singer in BANK.singers:
        line = line_of(singer, "shine a little brighter")
        notes = melody(singer, line, 7, 0.3, 0.5)
        gap = 2  # syllables before the rest: "shine a"
        notes = notes[:gap] + [[SungNote(n.start_s + 1.0, n.duration_s, n.midi) for n in s] for s in notes[gap:]]
        sung = sing(BANK, singer, line, notes, VoiceStyle(), np.random.default_rng(1))
        assert [word for word, _, _ in sung.words] == ["shine", "a", "little", "brighter"]
        levels = [loudness_db(sung, begin, end) for _, begin, end in sung.words]
        rest_begin, rest_end = sung.words[1][2], sung.words[2][1]
        assert rest_end - rest_begin > 0.6
        rest = loudness_db(sung, rest_begin + 0.05, rest_end - 0.05)
        assert min(levels) > -35
        assert rest < min(levels) - 40
        spoken = [(begin, end) for _, begin, end in sung.words]
        assert all(a_end <= b_begin + 1e-9 for (_, a_end), (b_begin, _) in itertools.pairwise(spoken))
        in_rest = (sung.f0_times_s > rest_begin + 0.02) & (sung.f0_times_s < rest_end - 0.02)
        assert not sung.f0_hz[in_rest].any()
        assert loudness_db(sung, sung.start_s, sung.words[0][1] - 0.01) < -70
        assert loudness_db(sung, sung.words[-1][2] + 0.02, sung.end_s) < -60


def test_a_seed_gives_the_same_bytes_and_another_seed_others():
    singer = BANK.singers[1]
    line = line_of(singer, "stay with me")
    notes = melody(singer, line, 0, 0.2, 0.4)
    first, again, other = (
        sing(BANK, singer, line, notes, VoiceStyle.draw(np.random.default_rng(k)), np.random.default_rng(k))
        for k in (5, 5, 6)
    )
    assert first.audio.tobytes() == again.audio.tobytes()
    assert np.array_equal(first.f0_hz, again.f0_hz)
    n = min(len(first.audio), len(other.audio))
    assert not np.allclose(first.audio[:n], other.audio[:n], atol=1e-3)
    same_style = sing(BANK, singer, line, notes, VoiceStyle.draw(np.random.default_rng(5)), np.random.default_rng(6))
    assert not np.array_equal(first.f0_hz[:100], same_style.f0_hz[:100])


def test_a_melisma_keeps_one_vowel():
    singer = BANK.singers[0]
    line = line_of(singer, "stay with me")
    low, _ = BANK.range_midi(singer)
    notes = [[SungNote(1.0 + 0.4 * k, 0.4, low + 5 + 2 * k) for k in range(3)]]
    notes += [[SungNote(2.2, 0.4, low + 7)], [SungNote(2.6, 0.6, low + 5)]]
    style = VoiceStyle(vibrato=0, scoop=0, fall=0)
    sung = sing(BANK, singer, line, notes, style, np.random.default_rng(0))
    vowels = [phone for phone in sung.phones if kind(phone[0]) == "vowel"]
    assert len(vowels) == 3
    assert vowels[0][1] == pytest.approx(1.0)
    assert vowels[0][2] > 2.05
    inside = (sung.f0_times_s > 1.02) & (sung.f0_times_s < 2.0)
    assert (sung.f0_hz[inside] > 0).all()
    for note in notes[0]:
        middle = np.argmin(np.abs(sung.f0_times_s - note.start_s - 0.25))
        assert 69 + 12 * np.log2(sung.f0_hz[middle] / 440) == pytest.approx(note.midi, abs=0.4)


@pytest.mark.parametrize(("duration", "midi"), [(0.02, 60), (0.06, 64), (0.3, 100), (0.3, 20), (6.0, 62)], ids=str)
def test_extreme_notes(duration, midi):
    for singer in (BANK.singers[0], BANK.singers[-1]):
        line = line_of(singer, "say you love me now")
        if duration > 1:
            line = BANK.vocalise(singer, "ooh")
        notes = [[SungNote(0.5 + duration * k, duration, midi)] for k in range(line.syllables)]
        sung = sing(BANK, singer, line, notes, VoiceStyle.draw(np.random.default_rng(1)), np.random.default_rng(2))
        well_formed(sung)
        assert sung.end_s >= notes[-1][0].end_s


def well_formed(sung: Sung) -> None:
    assert sung.audio.dtype == np.float32
    assert sung.audio.ndim == 1
    assert np.isfinite(sung.audio).all()
    assert 0.01 < np.abs(sung.audio).max() <= 0.99
    assert np.abs(sung.audio[[0, -1]]).max() < 1e-3
    assert len(sung.f0_times_s) == len(sung.f0_hz)
    np.testing.assert_allclose(np.diff(sung.f0_times_s), 0.005, atol=1e-9)
    assert sung.f0_times_s[0] == sung.start_s
    assert len(sung.audio) == pytest.approx(len(sung.f0_hz) * 0.005 * SR, abs=2)
    assert (sung.f0_hz >= 0).all()
    # A pop is a step that nothing around it explains: far beyond the usual steps of the loudest parts.
    steps = np.abs(np.diff(sung.audio))
    assert steps.max() < 0.6
    assert np.abs(np.diff(sung.audio[: int(0.02 * SR)])).max() < 0.02


@pytest.mark.parametrize("seed", range(6))
def test_any_style_and_any_remixed_line_is_well_formed(seed):
    rng = np.random.default_rng(seed)
    singer = BANK.singers[seed % len(BANK.singers)]
    line = BANK.remix(singer, int(rng.integers(1, 12)), rng)
    assert line.words == tuple(line.text.split())
    assert len(line.word_of_syllable) == line.syllables
    sung = sing(BANK, singer, line, melody(singer, line, seed, 0.15, 0.7), VoiceStyle.draw(rng), rng)
    well_formed(sung)
    assert tuple(word for word, _, _ in sung.words) == line.words
    assert sum(kind(symbol) == "vowel" for symbol, _, _ in sung.phones) == line.syllables


def test_a_line_of_one_singer_can_be_sung_by_another():
    line = BANK.remix(BANK.singers[0], 6, np.random.default_rng(3))
    phones = [
        [p[0] for p in speak(BANK, s, line, 0.0, VoiceStyle(), np.random.default_rng(0)).phones] for s in BANK.singers
    ]
    assert phones[0] == phones[1] == phones[2] == phones[3]


def test_vocalises():
    singer = BANK.singers[2]
    line = BANK.vocalise(singer, "la", 3)
    sung = sing(BANK, singer, line, melody(singer, line, 0, 0.4, 0.5), VoiceStyle(), np.random.default_rng(0))
    assert [symbol for symbol, _, _ in sung.phones] == ["l", "ɑ"] * 3  # noqa: RUF001
    assert sung.words[2][0] == "la"
    with pytest.raises(ValueError, match="unknown vocalise 'yodel'"):
        BANK.vocalise(singer, "yodel")


def test_speech_falls_and_shouts_are_higher():
    for singer in BANK.singers[1:3]:
        line = line_of(singer, "open up your heart tonight")
        said = speak(BANK, singer, line, 3.0, VoiceStyle(), np.random.default_rng(1))
        shouted = speak(BANK, singer, line, 3.0, VoiceStyle(), np.random.default_rng(1), shout=True)
        for sung in (said, shouted):
            well_formed(sung)
            assert raw_pitch_accuracy(sung)[0] > 0.85
        voiced = said.f0_hz[said.f0_hz > 0]
        assert voiced[-20:].mean() < voiced[:60].mean()
        assert np.median(shouted.f0_hz[shouted.f0_hz > 0]) > 1.3 * np.median(voiced)
        assert [w for w, _, _ in said.words] == list(line.words)


def test_a_breath_is_quiet_noise_before_its_end():
    sung = breath(BANK, BANK.singers[0], 2.0, 0.4, VoiceStyle(), np.random.default_rng(0))
    assert sung.start_s == pytest.approx(1.6)
    assert not sung.f0_hz.any()
    assert -50 < loudness_db(sung, 1.6, 2.0) < -30
    assert np.isfinite(sung.audio).all()


def test_the_band_above_12_khz_is_there_in_sibilants_and_faint_in_vowels():
    singer = BANK.singers[0]
    line = line_of(singer, "stay with me")
    sung = sing(BANK, singer, line, melody(singer, line, 0, 0.5, 0.5), VoiceStyle(), np.random.default_rng(0))
    high = sosfiltfilt(butter(6, 13_000, "highpass", fs=SR, output="sos"), sung.audio).astype(np.float32)
    bright = Sung(high, sung.start_s, sung.f0_times_s, sung.f0_hz)
    sibilant = next(phone for phone in sung.phones if phone[0] == "s")
    vowel = next(phone for phone in sung.phones if kind(phone[0]) == "vowel")
    s_high, v_high = loudness_db(bright, *sibilant[1:]), loudness_db(bright, *vowel[1:])
    assert s_high > loudness_db(sung, *sibilant[1:]) - 20
    assert v_high < s_high - 6
    assert v_high < loudness_db(sung, *vowel[1:]) - 25


def test_contour_without_habits_is_the_melody():
    style = VoiceStyle(vibrato=0, scoop=0, fall=0, drift=0, jitter=0, intonation=0, overshoot=0, detune=0.25)
    notes = [SungNote(0.0, 1.0, 60), SungNote(1.0, 1.0, 67)]
    times = np.arange(0, 2, 0.005)
    pitch = pitch_contour(notes, times, style, np.random.default_rng(0))
    np.testing.assert_allclose(pitch[(times < 0.85)], 60.25)
    np.testing.assert_allclose(pitch[(times > 1.15)], 67.25)


def test_vibrato_has_its_rate_and_sets_in_late():
    style = VoiceStyle(vibrato=1, scoop=0, fall=0, drift=0, jitter=0, intonation=0, vibrato_hz=6, vibrato_delay_s=0.4)
    times = np.arange(0, 3, 0.005)
    pitch = pitch_contour([SungNote(0.0, 3.0, 60)], times, style, np.random.default_rng(0)) - 60
    assert np.abs(pitch[times < 0.2]).max() < 0.01
    tail = pitch[(times > 1.2) & (times < 2.9)]
    crossings = np.count_nonzero(np.diff(np.sign(tail)))
    assert crossings / 2 / 1.7 == pytest.approx(6.0, abs=0.6)


def test_notes_that_do_not_fit_are_refused():
    singer = BANK.singers[0]
    line = line_of(singer, "stay with me")
    good = melody(singer, line, 0, 0.3, 0.4)
    rng = np.random.default_rng(0)
    for notes, message in (
        (good[:2], "2 lists of notes for the 3 syllables"),
        ([good[0], [], good[2]], "syllable 1 .* has no note"),
        ([good[0], good[2], good[1]], "starts before the note before it ends"),
        ([good[0], good[1], [SungNote(9.0, 0.0, 60)]], "a duration"),
        ([good[0], good[1], [SungNote(9.0, 0.3, float("nan"))]], "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            sing(BANK, singer, line, notes, VoiceStyle(), rng)
    with pytest.raises(ValueError, match="unknown singer 'nobody'; this bank has f1"):
        BANK.lines("nobody")


def test_bank_errors_and_pickling(tmp_path):
    with pytest.raises(DatasetError, match=r"no voice \(\*\.npz\)"):
        VoiceBank.load(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match=r"x\.npz: not a voice bank"):
        VoiceBank.load(tmp_path).lines("x")
    assert pickle.loads(pickle.dumps(BANK)).singers == BANK.singers
    assert len(BANK.singers) == 4


def test_without_pyworld_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pyworld":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'stemfeatures\[train\]'"):
        breath(BANK, BANK.singers[0], 1.0, 0.3, VoiceStyle(), np.random.default_rng(0))


def test_alignment_finds_phones_that_were_announced_elsewhere():
    """Three phones with distinct envelopes; the announced times are 50 ms off and lie the other way in every line."""
    rng = np.random.default_rng(0)
    centres = {"s": rng.normal(0, 2, 20), "i": rng.normal(0, 2, 20), "m": rng.normal(0, 2, 20)}
    lines, envelopes, truth = [], [], []
    for k in range(8):
        lengths = rng.integers(20, 40, 3)
        edge = 20 + np.concatenate([[0], np.cumsum(lengths)])
        frames = np.concatenate(
            [np.zeros((20, 20)) - 3] + [np.tile(centres[s], (n, 1)) for s, n in zip("sim", lengths)]
        )
        frames = np.concatenate([frames, np.zeros((20, 20)) - 3])
        envelopes.append(frames + 0.3 * rng.standard_normal(frames.shape))
        told = np.clip(edge + (10 if k % 2 else -10), 0, len(frames)) * 0.005
        flags = np.array([False, True, False])
        lines.append(PhoneTimes(("s", "i", "m"), flags, flags, np.zeros(3, int), told[:-1], told[1:]))
        truth.append(edge * 0.005)
    for line, edge in zip(align(lines, envelopes), truth):
        np.testing.assert_allclose(np.append(line.begin_s, line.end_s[-1]), edge, atol=0.0151)


@pytest.fixture(scope="module")
def recording():
    """A sung phrase as if recorded at 48 kHz."""
    import soxr

    singer = BANK.singers[0]
    line = line_of(singer, "stay with me")
    sung = sing(BANK, singer, line, melody(singer, line, 2, 0.4, 0.5), VoiceStyle(), np.random.default_rng(0))
    return soxr.resample(sung.audio, SR, 48_000), sung


@pytest.mark.parametrize(("method", "stretch"), [("world", 1.25), ("resample", 1.0)])
def test_placed_recordings_have_the_f0_they_report(recording, method, stretch):
    y, sung = recording
    placed = recordings.place_recording(y, 48_000, start_s=7.0, semitones=3, stretch=stretch, method=method)
    assert raw_pitch_accuracy(placed)[0] > 0.93
    length = stretch if method == "world" else 2 ** (-3 / 12)
    assert len(placed.audio) / SR == pytest.approx(length * len(y) / 48_000, rel=0.01)
    ratio = np.median(placed.f0_hz[placed.f0_hz > 0]) / np.median(sung.f0_hz[sung.f0_hz > 0])
    assert 12 * np.log2(ratio) == pytest.approx(3, abs=0.3)
    assert placed.start_s == placed.f0_times_s[0] == 7.0


def test_recordings_take_a_known_f0_and_refuse_nonsense(recording):
    y, _ = recording
    f0 = np.full(1 + int(len(y) / 48_000 / 0.005), 200.0)
    placed = recordings.place_recording(y, 48_000, f0=f0)
    assert np.all(placed.f0_hz == 200.0)
    with pytest.raises(ValueError, match="f0 has 10 frames"):
        recordings.place_recording(y, 48_000, f0=f0[:10])
    with pytest.raises(ValueError, match="outside"):
        recordings.place_recording(y, 48_000, f0=f0, semitones=20)
    with pytest.raises(ValueError, match="leave stretch"):
        recordings.place_recording(y, 48_000, f0=f0, stretch=1.5, method="resample")
    with pytest.raises(AudioError, match="not finite"):
        recordings.place_recording(np.full(1000, np.nan), 48_000)
    silent = recordings.place_recording(np.zeros(48_000), 48_000)
    assert not silent.f0_hz.any()
    assert np.abs(silent.audio).max() < 1e-3


def test_names_of_recordings_tell_key_and_tempo(tmp_path):
    import soundfile

    path = tmp_path / "etv_ETV-Phrase---009---Lay-Me-Down---136-BPM---Eb-Major.wav"
    soundfile.write(path, np.zeros(2000, np.float32) + 0.1, 44_100)
    found = recordings.Recording.read(path)
    assert (found.tonic, found.minor, found.bpm) == (3, False, 136.0)
    assert found.fit(tonic=2, minor=False, bpm=136) == (-1.0, 1.0)
    assert found.fit(tonic=0, minor=True, bpm=68) == (0.0, 1.0)  # the relative minor, in double time
    soundfile.write(tmp_path / "plain-amber.wav", np.zeros(2000, np.float32), 44_100)
    plain = recordings.Recording.read(tmp_path / "plain-amber.wav")
    assert (plain.tonic, plain.bpm) == (None, None)
    assert plain.fit(tonic=5, minor=True, bpm=90) == (0.0, 1.0)


def test_rough_voices_have_subharmonics_and_their_pitch() -> None:
    line = max(BANK.lines("f1"), key=lambda x: x.syllables)
    notes = melody("f1", line, 3, 0.3, 0.5)
    plain = VoiceStyle(vibrato=0.0, jitter=0.0, drift=0.0)
    ratios = {}
    for roughness in (0.0, 0.45):
        sung = sing(BANK, "f1", line, notes, replace(plain, roughness=roughness), np.random.default_rng(0))
        assert raw_pitch_accuracy(sung)[0] > 0.9, roughness
        parts = []
        for k in np.flatnonzero(sung.f0_hz > 0)[::7]:
            at = round((sung.f0_times_s[k] - sung.start_s) * SR)
            part = sung.audio[max(at - 4096, 0) : at + 4096]
            if len(part) < 8192 or np.ptp(sung.f0_hz[k - 9 : k + 10]) > 4:
                continue
            power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16)) ** 2
            place = [round(f * (1 << 16) / SR) for f in (1.5 * sung.f0_hz[k], sung.f0_hz[k])]
            parts.append(power[place[0] - 6 : place[0] + 7].max() / power[place[1] - 6 : place[1] + 7].max())
        assert len(parts) > 5
        ratios[roughness] = 10 * np.log10(np.median(parts))
    assert ratios[0.45] > ratios[0.0] + 8


def test_growls_are_loud_and_have_no_pitch() -> None:
    line = line_of("m1", BANK.lines("m1")[0].text)
    style = VoiceStyle().growled(np.random.default_rng(0))
    growl = speak(BANK, "m1", line, 1.0, style, np.random.default_rng(0), shout=True)
    shout = speak(BANK, "m1", line, 1.0, VoiceStyle(), np.random.default_rng(0), shout=True)
    assert not np.any(growl.f0_hz)
    assert np.mean(shout.f0_hz > 0) > 0.3
    assert [w for w, _, _ in growl.words] == [w for w, _, _ in shout.words]

    def periodicity(sung: Sung) -> float:
        at = sung.f0_times_s[np.flatnonzero(shout.f0_hz > 0)] - sung.start_s
        heights = []
        for t in at[::4]:
            part = sung.audio[round(t * SR) - 1024 : round(t * SR) + 1024].astype(float)
            if len(part) == 2048 and np.any(part):
                own = np.correlate(part, part, "full")[2047:]
                heights.append(own[SR // 900 : SR // 90].max() / own[0])
        return float(np.median(heights))

    assert periodicity(shout) > 0.75
    assert periodicity(growl) < 0.6
    level = [loudness_db(x, x.start_s, x.end_s) for x in (growl, shout)]
    assert level[0] == pytest.approx(level[1], abs=6)
