"""Tools of other packages: found without being imported, told how to install, fed and read rightly.

The tools themselves are stood in for by small modules with the same interface, unless they are installed.
"""

import json
import pickle
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile

from pipelines import cli
from stemfeatures.errors import ModelError
from stemfeatures.evaluation import (
    BaseEstimator,
    estimator_classes,
    get_estimator,
    missing_estimators,
    register_estimator,
)
from stemfeatures.evaluation.estimators.basic_pitch import BasicPitch
from stemfeatures.evaluation.estimators.beat_this import positions_of
from stemfeatures.evaluation.external import ExternalEstimator
from stemfeatures.evaluation.f0 import f0_scores

TOOLS = {name: found for name, found in estimator_classes().items() if issubclass(found, ExternalEstimator)}
RATE = 44_100
T = np.arange(2 * RATE) / RATE
SONG = np.stack([np.sin(2 * np.pi * 220 * T), 0.5 * np.sin(2 * np.pi * 331 * T)]).astype(np.float32)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in where ``import`` and ``find_spec`` find it."""

    def put(name: str, **contents) -> ModuleType:
        for parent in (name.rpartition(".")[0], name):
            if (parent and parent not in sys.modules) or parent == name:
                made = ModuleType(parent)
                made.__spec__ = SimpleNamespace(name=parent)
                made.__path__ = []
                monkeypatch.setitem(sys.modules, parent, made)
        vars(sys.modules[name]).update(contents)
        return sys.modules[name]

    return put


def absent(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda *args: None)


# Finding --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_is_not_there_is_named_with_its_command(name: str, monkeypatch) -> None:
    absent(monkeypatch, TOOLS[name].module)
    with pytest.raises(ImportError, match=f"{name} is not installed.*pip install"):
        get_estimator(name)
    assert name in missing_estimators()


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, stemfeatures.evaluation as e\n"
        "e.get_estimator('mixture'); e.missing_estimators()\n"
        "print({'torch', 'essentia', 'demucs', 'onnxruntime', 'librosa'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_broken_package_is_told_apart_from_a_missing_one(module, monkeypatch) -> None:
    def broken(*args, **options):
        raise OSError("libcuda.so: cannot open\nmore")

    module("swift_f0", SwiftF0=broken)
    with pytest.raises(ModelError, match=r"swift-f0 cannot be loaded: OSError: libcuda.so: cannot open; to install"):
        get_estimator("swift-f0").prepare()
    module("beat_this.inference")
    with pytest.raises(ImportError, match=r"beat_this: .*Audio2Beats.*pip install beat-this"):
        get_estimator("beat_this").prepare()


def test_other_weights_are_chosen_by_a_colon(module) -> None:
    loaded = []
    module("demucs.api", Separator=lambda **options: loaded.append(options))
    get_estimator("demucs:htdemucs_ft", device="cpu").load()
    get_estimator("demucs").load()
    assert [options["model"] for options in loaded] == ["htdemucs_ft", "htdemucs"]
    assert get_estimator("demucs:htdemucs_ft").name == "demucs:htdemucs_ft"
    module("essentia.standard")
    with pytest.raises(ModelError, match="essentia has one set of weights"):
        get_estimator("essentia:large")


def test_weights_do_not_travel_between_processes(module) -> None:
    module("swift_f0", SwiftF0=lambda **options: lambda: None)  # a closure does not pickle
    estimator = get_estimator("swift-f0")
    estimator.prepare()
    copy = pickle.loads(pickle.dumps(estimator))
    assert copy == estimator
    assert copy._model is None


def test_what_a_tool_offers_is_known_before_it_runs(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *args: SimpleNamespace())
    offers = {name: set(get_estimator(name).tasks) for name in TOOLS}
    assert offers == {
        "demucs": {"separation"},
        "open-unmix": {"separation"},
        "torchcrepe": {"f0"},
        "swift-f0": {"f0"},
        "basic-pitch": {"f0"},
        "pesto": {"f0"},
        "essentia": {"f0", "beats"},
        "beat_this": {"beats"},
    }
    assert all(TOOLS[name].voicing for name, tasks in offers.items() if "f0" in tasks)


def test_an_estimator_of_another_package_is_evaluated_by_its_name(tmp_path, monkeypatch, capsys) -> None:
    """One entry point and nothing else."""
    (tmp_path / "half_tool.py").write_text(
        "from stemfeatures.evaluation import BaseEstimator\n"
        "class Half(BaseEstimator):\n"
        "    name, quick, uses_torch = 'half', True, False\n"
        "    def separate(self, y, sample_rate):\n"
        "        return {'vocals': 0.5 * y, 'accompaniment': 0.5 * y}\n"
    )
    info = tmp_path / "half_tool-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-tool\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stemfeatures.estimators]\nhalf = half_tool:Half\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert get_estimator("half").tasks == {"separation"}
    with pytest.raises(ModelError, match="half has one set of weights, 'large' cannot be chosen"):
        get_estimator("half:large")
    folder = tmp_path / "songs" / "song"
    folder.mkdir(parents=True)
    # The voice is a quarter of the mixture, the estimate half of it: an SDR of 0 dB, 9.5 dB better than the mixture's.
    for name, gain in {"mixture": 1.0, "vocals": 0.25, "accompaniment": 0.75}.items():
        soundfile.write(folder / f"{name}.wav", 0.25 * gain * SONG[0], RATE, subtype="FLOAT")
    argv = ["evaluate", "separation", str(tmp_path / "songs"), "-m", "half", "--references", "quick", "--json", "-q"]
    assert cli.main(argv) == 0
    rows = {(row["estimator"], row["stem"]): row for row in json.loads(capsys.readouterr().out)["tracks"]}
    assert rows["half", "vocals"]["sdr_db"] == pytest.approx(0.0, abs=1e-4)
    assert rows["half", "vocals"]["nsdr_db"] == pytest.approx(20 * np.log10(3), abs=1e-4)
    assert rows["mixture", "vocals"]["nsdr_db"] == pytest.approx(0.0, abs=1e-6)
    sys.modules.pop("half_tool")


def test_names_are_taken_once() -> None:
    class Nameless(BaseEstimator):
        pass

    with pytest.raises(ValueError, match="the estimator has no name"):
        register_estimator(Nameless)
    with pytest.raises(ValueError, match="there is another estimator called 'pyin'"):
        register_estimator(type("Other", (BaseEstimator,), {"name": "pyin"}))
    assert register_estimator(BasicPitch) is BasicPitch


# Separators -----------------------------------------------------------------------------------------------------------


class FakeDemucs:
    samplerate = 44_100

    def __init__(self, **options) -> None:
        assert options["shifts"] == 0

    def separate_tensor(self, wav, rate):
        assert rate == self.samplerate
        assert wav.shape[0] == 2
        return wav, {"vocals": 0.25 * wav, "other": 0.75 * wav}


class FakeUnmix:
    sample_rate = np.float32(44_100)

    def freeze(self) -> None:
        self.frozen = True

    def to(self, device):
        return self

    def __call__(self, audio):
        assert self.frozen
        assert audio.shape[:2] == (1, 2)
        return audio

    def to_dict(self, audio):
        return {"vocals": 0.25 * audio, "other": 0.75 * audio}


@pytest.mark.parametrize("name", ["demucs", "open-unmix"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [44_100, 16_000])
def test_separators_answer_in_the_shape_level_and_time_of_the_mixture(module, name, channels, rate) -> None:
    module("demucs.api", Separator=FakeDemucs)
    module("openunmix", utils=SimpleNamespace(load_separator=lambda weights, device: FakeUnmix()))
    y = SONG[:channels, : 2 * rate + 7]
    stems = get_estimator(name).separate(y, rate)
    for stem, share in {"vocals": 0.25, "other": 0.75}.items():
        assert stems[stem].shape == y.shape
        np.testing.assert_allclose(stems[stem][:, 200:-200], share * y[:, 200:-200], atol=2e-3)
    with pytest.raises(ValueError, match="mono or stereo"):
        get_estimator(name).separate(np.zeros((6, 100), np.float32), rate)


# F0 -------------------------------------------------------------------------------------------------------------------


def voiced_scores(name: str) -> dict[str, float]:
    """A tone whose second half the tool calls unvoiced, though it knows its pitch."""
    times, f0_hz = get_estimator(name).f0(SONG[:1], RATE)
    ref_times = np.arange(5, 195) * 0.01
    return f0_scores(ref_times, np.full(190, 220.0), times, f0_hz)


def test_guesses_of_every_tool_become_negative_pitches(module) -> None:
    import torch

    half = np.arange(200) < 100

    def predict(audio, rate, hop, fmin, fmax, weights, **options):
        assert (rate, hop, weights, audio.shape) == (16_000, 160, "full", (1, 32_000))
        return torch.full((1, 200), 220.0), torch.from_numpy(np.where(half, 0.3, 0.1))[None]

    module(
        "torchcrepe",
        predict=predict,
        load=SimpleNamespace(model=lambda device, weights: None),
        filter=SimpleNamespace(median=lambda signal, width: signal),
    )
    swift = SimpleNamespace(
        timestamps=np.arange(125) * 0.016, pitch_hz=np.full(125, 220.0), confidence=(np.arange(125) < 63) * 0.9
    )
    module("swift_f0", SwiftF0=lambda **options: SimpleNamespace(detect=lambda *args, **options: swift))

    class Network(SimpleNamespace):
        def to(self, device):
            return self

        def __call__(self, signal, **options):
            return torch.full((200,), 220.0), torch.from_numpy(half * 0.9), None

    module("pesto", load_model=lambda *args, **options: Network())
    frames = round(2 * RATE / 128)
    module(
        "essentia.standard",
        EqualLoudness=lambda: lambda y: y,
        PredominantPitchMelodia=lambda **options: (
            lambda y: (np.full(frames, 220.0, np.float32), np.where(np.arange(frames) < frames / 2, 0.2, -0.2))
        ),
    )
    sys.modules["essentia"].log = SimpleNamespace()
    sys.modules["essentia"].standard = sys.modules["essentia.standard"]
    for name in ("torchcrepe", "swift-f0", "pesto", "essentia"):
        scores = voiced_scores(name)
        assert scores["raw_pitch_accuracy"] == 1, name
        assert scores["voicing_recall"] == pytest.approx(0.5, abs=0.02), name


def test_basic_pitch_bins_windows_and_voices(module) -> None:
    """Bin 109 is A3: 27.5 Hz is the second bin. Frames come from the middle of their windows, at their own times."""
    hop, window = 256, 43_844
    bins = np.arange(264)

    def posteriors(samples: np.ndarray) -> np.ndarray:
        centres = samples[0, np.arange(172) * hop, 0]  # the stand-in signal is its own time axis
        lead = np.where(centres < 1.0, 109.0, 121.0)
        contour = 0.9 * np.exp(-0.5 * ((bins - lead[:, None]) / 0.7) ** 2)
        return contour + 0.5 * np.exp(-0.5 * ((bins - 157.4) / 0.7) ** 2)

    def windows(signal, step):
        for start in range(0, len(signal), step):
            yield np.pad(signal[start : start + window], (0, max(0, start + window - len(signal))))[:, None], {}

    module("basic_pitch", ICASSP_2022_MODEL_PATH="nmp", constants=None)
    constants = module("basic_pitch.constants", FFT_HOP=hop, AUDIO_N_SAMPLES=window, AUDIO_SAMPLE_RATE=22_050)
    inference = module(
        "basic_pitch.inference",
        window_audio_file=windows,
        Model=lambda path: SimpleNamespace(predict=lambda x: {"contour": posteriors(x[0][None])[None]}),
    )
    sys.modules["basic_pitch"].constants, sys.modules["basic_pitch"].inference = constants, inference
    seconds = (np.arange(int(5.3 * 22_050)) / 22_050).astype(np.float32)
    times, f0_hz = get_estimator("basic-pitch").f0(seconds[None], 22_050)
    # windows are 141.27 frames apart: where two meet, the step is shorter
    assert (np.diff(times) > 0).all()
    assert (np.diff(times) <= hop / 22_050 + 1e-9).all()
    assert times[-1] == pytest.approx(5.3, abs=hop / 22_050)
    np.testing.assert_allclose(f0_hz[times < 0.95], 220.0, rtol=2e-3)
    np.testing.assert_allclose(f0_hz[(times > 1.05) & (times < 5.2)], 220 * 2 ** (1 / 3), rtol=2e-3)
    step = times[np.flatnonzero(f0_hz > 250)[0]]
    assert step == pytest.approx(1.0, abs=hop / 22_050)
    _, several = get_estimator("basic-pitch").multi_f0(seconds[None], 22_050)
    np.testing.assert_allclose(several[10], [220.0, 27.5 * 2 ** (156.4 / 36)], rtol=2e-3)
    assert BasicPitch.threshold == 0.3


# Beats ----------------------------------------------------------------------------------------------------------------


def test_beats_are_counted_from_the_downbeats(module) -> None:
    beats = np.array([0.1, 0.6, 1.1, 1.6, 2.1, 2.6])
    np.testing.assert_array_equal(positions_of(beats, beats[[1, 4]]), [0, 1, 2, 3, 1, 2])
    np.testing.assert_array_equal(positions_of(beats, np.zeros(0)), 0)
    assert len(positions_of(np.zeros(0), np.zeros(0))) == 0

    def tracker(signal, rate):
        assert (rate, signal.shape) == (22_050, (44_100,))
        return beats, beats[[0, 4]]

    module("beat_this.inference", Audio2Beats=lambda **options: tracker)
    found, positions = get_estimator("beat_this").beats(SONG, RATE)
    np.testing.assert_array_equal(found, beats)
    np.testing.assert_array_equal(positions, [1, 2, 3, 4, 1, 2])


# The tools themselves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torchcrepe:tiny", "swift-f0", "basic-pitch", "pesto", "essentia"])
def test_installed_tools_follow_a_glide_without_delay(name: str) -> None:
    if not TOOLS[name.partition(":")[0]].installed():
        pytest.skip(f"{name} is not installed")
    rate = 22_050
    t = np.arange(4 * rate) / rate
    f0 = 220 * 2 ** (0.25 * np.sin(np.pi * t))
    phase = 2 * np.pi * np.cumsum(f0) / rate
    y = sum(0.2 / k * np.sin(k * phase) for k in range(1, 9)).astype(np.float32)
    estimator = get_estimator(name)
    times, found = estimator.f0(y[None], rate)
    ref = np.arange(0.5, 3.5, 0.01)
    scores = f0_scores(ref, 220 * 2 ** (0.25 * np.sin(np.pi * ref)), times, found)
    assert scores["raw_pitch_accuracy"] > 0.95
    assert estimator.describe()["version"]
