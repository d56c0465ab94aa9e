"""The joint analysis of a track against an independent computation, and the ladder from arrays to files."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from frames_helper import stem_frames
from networks import tiny_checkpoint

from stemfeatures.analysis import Analyser, TrackAnalysis
from stemfeatures.audio import resample
from stemfeatures.constants import PITCH_FMIN, STEM_ROWS, STEMS
from stemfeatures.descriptors.registry import descriptor_fields
from stemfeatures.errors import (
    AudioError,
    DecodeError,
    EmptyAudioError,
    ModelError,
    NonFiniteAudioError,
    SeparationError,
)
from stemfeatures.frames.measures import pitch_candidates
from stemfeatures.inference.downmix import Downmix
from stemfeatures.inference.segments import SegmentRunner
from stemfeatures.lyrics.vocals import VocalSeparator
from stemfeatures.separation import Separator
from stemfeatures.separation.remix import remix_file

SR = 22_050


def _music(seconds: float, sample_rate: int, seed: int = 0) -> np.ndarray:
    """A chord with a pulse: something with every kind of feature."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sample_rate)) / sample_rate
    y = sum(np.sin(2 * np.pi * f * t) for f in (110.0, 277.2, 329.6)) * 0.08
    y += 0.3 * rng.standard_normal(len(t)) * np.exp(-((t * 2) % 1) * 30)
    return y.astype(np.float32)


@pytest.mark.parametrize("seconds", [0.01, 1.7, 21.3])
def test_frames_of_the_mixture_equal_an_independent_computation(analyser, seconds):
    y = _music(seconds, SR)
    got = analyser.from_audio(y, SR).frames.stems["mixture"]
    high_pass = Downmix(SR)
    want = stem_frames(np.concatenate([high_pass.process(y[None]), high_pass.flush()], axis=1)[0])
    names = (
        "mel",
        "chroma",
        "energy",
        "centroid_hz",
        "bandwidth_hz",
        "rolloff_hz",
        "flatness",
        "k_power",
        "bark",
        "bin_rise",
    )
    names += ("zero_crossing_rate", "envelope", "dissonance")
    tolerance = {"energy": 2e-3, "k_power": 0.01, "zero_crossing_rate": 0.01}
    for name in names:
        a, b = getattr(got, name), getattr(want, name)
        assert a.shape == b.shape, name
        # The oracle filters samples, and its filter rings on where windows stick out of the signal.
        inner = slice(3, -3) if name == "k_power" else slice(None)
        scale = float(np.abs(b).max()) + 1e-12
        assert float(np.abs(a - b)[..., inner].max(initial=0.0)) / scale < tolerance.get(name, 1e-4), name
    for name in ("skewness", "kurtosis"):
        # In frames that are next to one line the rounding of far bins has a say.
        b = getattr(want, name)
        error = np.abs(getattr(got, name) - b) / (np.abs(b).max() + 1e-12)
        assert float(np.median(error)) < 1e-4, name
        assert float(error.max()) < 0.05, name
    assert got.peak == pytest.approx(want.peak, rel=0.03)
    assert float(np.median(np.abs(got.contrast[:6] - want.contrast[:6]))) < 1e-3


def test_stem_frames_are_those_of_the_masked_spectrogram(analyser):
    frames = analyser.from_audio(_music(4.0, SR), SR).frames
    total = sum(np.sqrt(frames.stems[s].mel.sum(axis=0)) for s in STEMS)
    assert np.all(total > 0.5 * np.sqrt(frames.stems["mixture"].mel.sum(axis=0)))
    for stem in STEMS:
        assert np.all(frames.stems[stem].energy <= frames.stems["mixture"].energy * (1 + 1e-5))
        assert np.all(frames.stems[stem].mel <= frames.stems["mixture"].mel * (1 + 1e-4) + 1e-9)


def test_pitch_candidates_are_precise():
    place = torch.tensor([100.0, 150.3, 30.0])
    bins = torch.arange(360.0)[:, None]
    salience = torch.exp(-0.5 * (bins - place) ** 2) + 0.6 * torch.exp(-0.5 * (bins - place - 60) ** 2)
    hertz, values = pitch_candidates(salience)
    cents = 1200 * torch.log2(hertz[:, 0] / (PITCH_FMIN * 2 ** (place / 60)))
    assert float(cents.abs().max()) < 2
    assert torch.allclose(hertz[:, 1] / hertz[:, 0], torch.tensor(2.0), atol=0.01)
    assert bool(hertz[:, 2:].isnan().all())
    assert bool((values[:, 2:] == 0).all())


@pytest.mark.parametrize(("sample_rate", "channels"), [(44_100, 2), (8_000, 1), (22_050, 1)])
def test_array_and_file_give_the_same_values(analyser, tmp_path, sample_rate, channels):
    y = np.stack([_music(11.0, sample_rate, seed=c) for c in range(channels)])
    path = tmp_path / "song.wav"
    soundfile.write(path, y.T, sample_rate, subtype="FLOAT")
    a, b = analyser.from_audio(y, sample_rate), analyser.from_file(path)
    assert a.stems == b.stems
    assert b.status == "ok"
    assert b.info.sample_rate == sample_rate
    assert b.decoded_duration_s == pytest.approx(11.0)
    np.testing.assert_array_equal(a.contours["vocals"].f0_hz, b.contours["vocals"].f0_hz)
    again = analyser.from_file(path)
    assert again.stems == b.stems
    assert again.sha256 == b.sha256


def test_every_registered_field_is_there(analyser):
    result = analyser.from_audio(_music(3.0, SR), SR)
    assert tuple(result.stems) == STEM_ROWS
    for row in result.stems.values():
        assert set(row) == {f.name for f in descriptor_fields()}


@pytest.mark.parametrize(("seconds", "status"), [(0.2, "too_short"), (2.0, "ok")])
def test_status_of_short_tracks(analyser, seconds, status):
    assert analyser.from_audio(_music(seconds, SR), SR).status == status


def test_silence_is_said_to_be_silent(analyser):
    result = analyser.from_audio(np.zeros((2, 44_100), np.float32), 44_100)
    assert result.status == "silent"
    row = result.stems["mixture"]
    assert row["tempo_bpm"] is None
    assert row["loudness_integrated_lufs"] is None
    assert row["key"] is None
    assert result.embeddings == {}
    assert np.all(np.isnan(result.contours["vocals"].f0_hz))


@pytest.mark.parametrize("n", [1, 2, 100])
def test_a_few_samples_are_enough(analyser, n):
    assert analyser.from_audio(np.full(n, 0.1, np.float32), 44_100).frames.n_frames >= 1


def test_bad_input_is_named(analyser, tmp_path):
    with pytest.raises(EmptyAudioError):
        analyser.from_audio(np.zeros((1, 0), np.float32), SR)
    with pytest.raises(NonFiniteAudioError):
        analyser.from_audio(np.array([0.0, np.inf], np.float32), SR)
    bad = tmp_path / "bäd.ogg"
    bad.write_bytes(b"OggS but not really")
    with pytest.raises(DecodeError, match=r"bäd\.ogg"):
        analyser.from_file(bad)


def test_integers_are_scaled_and_odd_arrays_refused(analyser):
    y = _music(1.0, SR)
    a, b = analyser.from_audio(y, SR), analyser.from_audio(np.round(y * 32768).astype(np.int16), SR)
    loud = [r.stems["mixture"]["loudness_integrated_lufs"] for r in (a, b)]
    assert loud[0] == pytest.approx(loud[1], abs=0.01)
    with pytest.raises(ValueError, match="transpose"):
        analyser.from_audio(np.stack([y, y], axis=1), SR)
    with pytest.raises(ValueError, match="shape"):
        analyser.from_audio(np.zeros((2, 2, 2)), SR)
    for bad in (None, "song.wav", y > 0, y.astype(complex)):
        with pytest.raises(TypeError, match="samples must be"):
            analyser.from_audio(bad, SR)
    with pytest.raises(TypeError, match="whole number"):
        analyser.from_audio(y, 22_050.5)
    with pytest.raises(ValueError, match="at least 1000"):
        analyser.from_audio(y, 0)
    assert analyser.from_audio(y, 22_050.0).sample_rate == SR


def test_integers_as_floats_are_said_to_be_out_of_range(analyser, tmp_path):
    y = _music(1.0, SR)
    y *= np.float32(0.9 / np.abs(y).max())
    loud = analyser.from_audio(y * 32_767, SR)
    assert loud.status == "out_of_range"
    assert loud.message == f"samples reach {0.9 * 32_767:g} times full scale: integers stored as floating point?"
    soundfile.write(tmp_path / "loud.wav", y * 32_767, SR, subtype="FLOAT")
    assert analyser.from_file(tmp_path / "loud.wav").status == "out_of_range"
    assert (analyser.from_audio(y * 30, SR).status, analyser.from_audio(y * 30, SR).message) == ("ok", "")
    # What no integers explain would overflow, and come out as silent.
    soundfile.write(tmp_path / "junk.wav", y * 1e25, SR, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"junk\.wav: samples reach 9e\+24 times full scale"):
        analyser.from_file(tmp_path / "junk.wav")
    with pytest.raises(AudioError, match="samples reach 9e"):
        analyser.from_audio(y * 1e25, SR)


def test_an_impossible_device_is_named(tmp_path):
    with pytest.raises(ModelError, match="device 'nonsense' cannot be used"):
        Analyser(tiny_checkpoint(tmp_path), device="nonsense")


def test_many_tracks_share_batches_and_errors_are_yielded(tmp_path):
    analyser = Analyser(tiny_checkpoint(tmp_path), batch_size=3)
    sources, alone = [], {}
    for i, seconds in enumerate((3.0, 19.0, 1.0)):
        y = _music(seconds, SR, seed=i)
        soundfile.write(tmp_path / f"{i}.wav", y, SR, subtype="FLOAT")
        sources.append((i, tmp_path / f"{i}.wav"))
        alone[i] = analyser.from_audio(y, SR)
    (tmp_path / "bad.wav").write_text("no")
    sources.insert(2, ("bad", tmp_path / "bad.wav"))
    results = dict(analyser.many(sources))
    assert isinstance(results.pop("bad"), DecodeError)
    assert set(results) == {0, 1, 2}
    for i, result in results.items():
        a, b = result.frames.stems["vocals"].energy, alone[i].frames.stems["vocals"].energy
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-8)


def test_an_error_that_names_another_file_is_another_error():
    """Also where tblib has changed how errors are copied, as it has in processes that use Dask."""
    pickling_support = pytest.importorskip("tblib.pickling_support")
    pickling_support.install()
    with pytest.raises(SeparationError) as caught:
        raise SeparationError("not finite", source="a.wav", stage="network")
    error = caught.value
    other = error.about("b.wav")
    assert (str(error), str(other)) == ("a.wav: not finite [network]", "b.wav: not finite [network]")
    assert type(other) is SeparationError
    assert other.args == error.args
    assert other.__traceback__ is not None
    assert error.about("a.wav") is error


def test_no_track_of_a_batch_that_failed_is_lost(tmp_path, monkeypatch):
    analyser = Analyser(tiny_checkpoint(tmp_path), batch_size=2)
    run, failing = SegmentRunner._run, [True, False, True]

    def sometimes(runner, batch):
        if failing.pop(0):
            raise SeparationError("the network's masks are not finite")
        run(runner, batch)

    monkeypatch.setattr(SegmentRunner, "_run", sometimes)
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", _music(1.0, SR, seed=i), SR)
    # The batch of the first two fails, that of the next two does not, the last track alone fails again.
    found = list(analyser.many((i, tmp_path / f"{i}.wav") for i in range(5)))
    assert sorted(key for key, _ in found) == list(range(5))
    failed = {key for key, result in found if isinstance(result, SeparationError)}
    assert failed == {0, 1, 4}
    # Each names its own file, although two failed in one batch.
    assert {key: error.source for key, error in found if key in failed} == {
        key: str(tmp_path / f"{key}.wav") for key in failed
    }
    assert all(result.status == "ok" for key, result in found if key not in failed)


def test_threads_share_an_analyser_with_larger_batches(tmp_path):
    """Each call has the values that it has alone, and its own error."""
    analyser = Analyser(tiny_checkpoint(tmp_path), batch_size=3)
    signals = [_music(18.0 + i, SR, seed=i) for i in range(3)]
    soundfile.write(tmp_path / "song.wav", signals[0], SR, subtype="FLOAT")
    signals[2][-5] = np.inf

    def analyse(i: int) -> TrackAnalysis | Exception:
        try:
            return analyser.from_audio(signals[i], SR)
        except AudioError as error:
            return error

    def several() -> list:
        return list(analyser.many([(key, tmp_path / "song.wav") for key in "ab"]))

    alone, pair = [analyse(i) for i in range(2)], several()
    with ThreadPoolExecutor(4) as pool:
        pairs, found = pool.submit(several), list(pool.map(analyse, [0, 1, 2, 0]))
        assert isinstance(found[2], NonFiniteAudioError)
        for result, k in zip(found, (0, 1, None, 0)):
            if k is not None:
                _assert_same(result, alone[k])
        for (key, result), (want_key, want) in zip(pairs.result(), pair, strict=True):
            assert key == want_key
            _assert_same(result, want)


def _assert_same(a: TrackAnalysis, b: TrackAnalysis) -> None:
    assert a.sha256 == b.sha256
    assert a.stems == b.stems
    for name in ("vocals", "drums"):
        np.testing.assert_array_equal(a.frames.stems[name].mel, b.frames.stems[name].mel)


def test_what_is_wrong_with_a_file_names_it(tmp_path, monkeypatch):
    """Also where the network finds it out, which knows no files."""
    path = tmp_path / "song.wav"
    soundfile.write(path, _music(1.0, SR), SR)
    checkpoint = tiny_checkpoint(tmp_path)

    def fail(runner, batch):
        raise SeparationError("the network's masks are not finite")

    monkeypatch.setattr(SegmentRunner, "_run", fail)
    message = re.escape(f"{path}: the network's masks are not finite [separate]")
    analyser, separator = Analyser(checkpoint), Separator(checkpoint)
    vocals = VocalSeparator(checkpoint)
    for use in (
        lambda: analyser.from_file(path),
        lambda: separator.separate_file(path, tmp_path / "stems"),
        lambda: remix_file(separator, path, tmp_path / "louder.wav", {"vocals": 3.0}),
        lambda: vocals.from_file(path),
    ):
        with pytest.raises(SeparationError, match=message):
            use()
    with pytest.raises(SeparationError, match=r"^the network's masks are not finite \[separate\]$"):
        analyser.from_audio(_music(1.0, SR), SR)


@pytest.mark.parametrize("sample_rate", [1, 2, 3, 7, 50, 100, 999])
def test_a_rate_that_no_audio_has_is_refused(analyser, tmp_path, sample_rate):
    path = tmp_path / "control.wav"
    soundfile.write(path, np.zeros(50), sample_rate)
    message = re.escape(f"{path}: a sample rate of {sample_rate} Hz; audio has at least 1000 Hz [decode]")
    with pytest.raises(DecodeError, match=message):
        analyser.from_file(path)
    with pytest.raises(ValueError, match=f"at least 1000 Hz, got {sample_rate}"):
        analyser.from_audio(np.zeros(50), sample_rate)


@pytest.mark.parametrize("sample_rate", [1_000, 1_001, 3_999, 8_000, 12_345, 47_999, 192_000, 999_999, 1_000_000])
def test_every_other_rate_is_analysed(analyser, tmp_path, sample_rate):
    path, f0 = tmp_path / "tone.wav", 220.0
    t = np.arange(2 * sample_rate) / sample_rate
    fade = np.minimum(1, 10 * np.minimum(t, 2 - t))
    soundfile.write(path, 0.5 * fade * np.sin(2 * np.pi * f0 * t), sample_rate, subtype="FLOAT")
    track = analyser.from_file(path)
    assert (track.status, track.sample_rate, track.decoded_duration_s) == ("ok", sample_rate, 2.0)
    mixture = track.stems["mixture"]
    assert mixture["spectral_centroid_mean_hz"] == pytest.approx(f0, abs=6)
    assert mixture["true_peak_dbtp"] == pytest.approx(-6.02, abs=0.3)


def test_stereo_is_analysed_as_the_mean_of_its_channels(analyser):
    left, right = _music(2.0, 44_100, 1), _music(2.0, 44_100, 2)
    stereo = analyser.from_audio(np.stack([left, right]), 44_100)
    mono = analyser.from_audio(resample((left + right) / 2, 44_100, SR), SR)
    np.testing.assert_allclose(stereo.frames.stems["mixture"].energy, mono.frames.stems["mixture"].energy, rtol=1e-3)
