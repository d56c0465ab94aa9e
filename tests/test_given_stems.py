"""Stems from elsewhere: separators of other packages, folders of stems, and what the analysis makes of them."""

from __future__ import annotations

import hashlib
import io
import linecache
import math
import os
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from networks import tiny_checkpoint

from pipelines import cli, extract_catalog
from pipelines.catalog import portions
from pipelines.extraction import cluster, plan, prepare
from pipelines.extraction.separator_trial import origin_of
from stemfeatures import audio
from stemfeatures.analysis import Analyser
from stemfeatures.constants import N_BINS, STEM_ROWS, STEMS
from stemfeatures.errors import ModelError, SeparationError
from stemfeatures.inference.segments import SegmentRunner
from stemfeatures.models.joint import JointConfig, JointNet
from stemfeatures.separation.aside import aside
from stemfeatures.separation.external import (
    ExternalSeparator,
    Tool,
    in_stereo,
    open_external,
    stem_name,
    tool_of,
    weights_sha256,
)
from stemfeatures.separation.given_stems import (
    StemFolder,
    find_stem_folder,
    folder_of,
    further_stems,
    joined,
    wiener_masks,
)
from stemfeatures.tables.reader import open_features

RATE = 44_100


def thirds(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """A separator for tests: fixed shares of the signal."""
    shares = {"Vocals": 0.5, "drums": 0.2, "bass": 0.1, "other": 0.1, "guitar": 0.1}
    return {stem: share * y for stem, share in shares.items()}


# ------------------------------------------------------------------------------------------------------------ masks


def spectra(*values: complex) -> torch.Tensor:
    return torch.stack([torch.full((N_BINS + 1, 3), v, dtype=torch.complex64) for v in values])


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        # All four: shares of their power, whatever the mixture is.
        ({"vocals": 2, "drums": 1, "bass": 2j, "other": 1}, {"vocals": 0.4, "drums": 0.1, "bass": 0.4, "other": 0.1}),
        # No rest is named: the mixture (4) less the stems (3) has a power of 1.
        ({"vocals": 3}, {"vocals": 0.9}),
        # The rest is named, and no row.
        ({"vocals": 3, "no_vocals": 1j}, {"vocals": 0.9}),
        # The mixture less drums, vocals and bass is other.
        ({"vocals": 1, "drums": 1, "bass": 1}, {"vocals": 0.25, "drums": 0.25, "bass": 0.25, "other": 0.25}),
        # Further stems are rows of their own, and part of other.
        (
            {"vocals": 2, "drums": 0, "bass": 0, "other": 2, "guitar": 2j, "piano": 2},
            {"vocals": 0.25, "drums": 0, "bass": 0, "other": 0.75, "guitar": 0.25, "piano": 0.25},
        ),
        # Vocals, drums and bass are not known: the mixture less the stems is theirs.
        ({"other": 1, "guitar": 1}, {"other": 1 / 3, "guitar": 1 / 6}),
    ],
)
def test_wiener_masks(stems: dict[str, complex], expected: dict[str, float]) -> None:
    [mixture] = spectra(4)
    masks = wiener_masks(mixture, spectra(*stems.values()), tuple(stems))
    assert set(masks) == set(expected)
    for stem, mask in masks.items():
        assert mask.shape == (N_BINS, 3)
        torch.testing.assert_close(mask, torch.full_like(mask, expected[stem]), msg=stem)


def test_silence_is_other() -> None:
    masks = wiener_masks(spectra(0)[0], spectra(0, 0, 0, 0), STEMS)
    assert [float(masks[stem].max()) for stem in STEMS] == [0, 0, 0, 1]
    assert float(masks["other"].min()) == 1


@pytest.mark.parametrize("given", [("drums",), ("drums", "vocals"), ("vocals", "drums", "bass"), STEMS])
def test_the_network_keeps_given_masks(given: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net = JointNet(JointConfig(channels=(4, 6), dense=4, recurrent=4)).eval()
    magnitude = torch.rand(1, N_BINS, 20)
    shares = torch.softmax(torch.randn(1, len(STEMS), N_BINS, 20), dim=1)
    known = {stem: shares[:, STEMS.index(stem)] for stem in given}
    with torch.no_grad():
        plain, masks = net(magnitude).masks, net(magnitude, known).masks
    for stem in given:
        assert torch.equal(masks[:, STEMS.index(stem)], known[stem])
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(1, N_BINS, 20), atol=1e-5, rtol=0)
    rows = [i for i, stem in enumerate(STEMS) if stem not in given]
    if len(rows) > 1:  # in their own proportions
        a, b = rows[:2]
        torch.testing.assert_close(masks[:, a] * plain[:, b], masks[:, b] * plain[:, a], atol=1e-5, rtol=0)


def test_further_stems_are_neither_rests_nor_the_four() -> None:
    names = ("vocals", "instrumental", "lead_vocals", "mixture", "other", "piano")
    assert further_stems(names) == ("lead_vocals", "piano")


# ------------------------------------------------------------------------------------------------------- separators


def test_windows_give_what_the_whole_gives() -> None:
    """A function without memory: the cross-fade of equal values changes nothing."""
    sizes: list[int] = []

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        sizes.append(y.shape[-1])
        return {"vocals": 0.25 * y, "other": 0.75 * y}

    y = np.random.default_rng(0).normal(0, 0.1, (2, 10 * 8_000)).astype(np.float32)
    separator = ExternalSeparator("x", Tool(separate, ("vocals", "other"), window_s=2.0))
    blocks = [y[:, :5], y[:, 5:30_000], y[:, 30_000:]]
    found = list(separator.stream(blocks, 8_000, 2))
    assert max(sizes) == 16_000
    assert len(found) == 7  # windows of 2 s, 1.5 s apart
    for stem, share in (("vocals", 0.25), ("other", 0.75)):
        np.testing.assert_allclose(np.concatenate([f[stem] for f in found], axis=-1), share * y, atol=1e-6)
    short = separator.separate_array(y[0, :100], 8_000)
    assert sizes[-1] == 8_000  # filled up to a second
    np.testing.assert_allclose(short["vocals"], 0.25 * y[0, :100], atol=1e-7)


def test_the_borders_of_windows_are_faded() -> None:
    count = iter(range(100))
    counting = Tool(lambda y, rate: {"other": np.full_like(y, next(count))}, ("other",), window_s=4.0)
    separator = ExternalSeparator("x", counting)
    y = separator.separate_array(np.zeros(7 * 1_000, np.float32), 1_000)["other"]
    assert y[:2_900].max() == 0
    assert y[4_100:].min() == 1
    inside = y[3_000:4_000]
    np.testing.assert_allclose(inside, (np.arange(1_000) + 0.5) / 1_000, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda y: {"vocals": y[:, 1:]}, r"vocals has shape \(2, 44099\), not \(2, 44100\)"),
        (lambda y: {"vocals": y * np.nan}, "vocals is not finite"),
        (lambda y: {"vocals": (2**15 * y).astype(np.int16)}, "vocals has type int16, not float with full scale 1"),
        (lambda y: {"vocals": y.astype(complex)}, "vocals has type complex128, not float with full scale 1"),
        (lambda y: {"vocals": np.full(y.shape, 1e300)}, "vocals is not finite"),
        (lambda y: {"vocals": None}, "vocals has type object, not float"),
        (lambda y: {"vocals": [[0.0], [0.0, 1.0]]}, "vocals is no array: ValueError"),
        (lambda y: {"vocals": y, "Vocals": y}, "x has two stems 'vocals'"),
        (lambda y: {"mixture": y}, "x has no stems"),
        (lambda y: sys.exit(3), "x failed: SystemExit: 3"),
        (lambda y: {"drums": y}, "gave drums after vocals"),
        (lambda y: [y], "returned list, not stems by name"),
        (lambda y: 1 / 0, "x failed: ZeroDivisionError"),
    ],
)
def test_answers_are_checked(answer: Any, message: str) -> None:
    separator = ExternalSeparator("x", Tool(lambda y, rate: answer(y), ("vocals",)))
    with pytest.raises(SeparationError, match=message):
        separator.separate_array(np.zeros((2, RATE), np.float32), RATE)


def test_what_else_may_come_back() -> None:
    """Tensors with gradients, and the mixture, which is no stem of it; nothing that was done to the process stays."""
    folder, errors, output = os.getcwd(), np.geterr(), sys.stdout

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, Any]:
        os.chdir("/")
        np.seterr(all="raise")
        gain = torch.tensor(0.25, requires_grad=True)
        return {"mix": y, "vocals": gain * torch.from_numpy(y), "other": 0.75 * y.astype(np.float64), "Mixture": y}

    separator = ExternalSeparator("x", Tool(separate))
    assert separator.stems == ("vocals", "other")
    separator.try_out()
    y = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    found = separator.separate_array(y, RATE)
    np.testing.assert_allclose(found["vocals"], 0.25 * y, rtol=1e-6)
    assert {stem.dtype for stem in found.values()} == {np.dtype(np.float32)}
    assert (os.getcwd(), np.geterr(), sys.stdout) == (folder, errors, output)


def test_standard_output_stays_free_while_separators_print(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that never come back, too: they keep it from nobody else."""
    begun, over = threading.Event(), threading.Event()

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        print("12 % of the weights")
        begun.set()
        over.wait(60)
        print("100 % of the weights")
        return {"vocals": y}

    separator = ExternalSeparator("x", Tool(separate, ("vocals",)))
    thread = threading.Thread(target=separator.separate_array, args=(np.zeros((1, RATE), np.float32), RATE))
    thread.start()
    assert begun.wait(60)
    print("a result")
    over.set()
    thread.join()
    print("another one")
    assert capsys.readouterr() == ("a result\nanother one\n", "12 % of the weights\n100 % of the weights\n")


def test_another_standard_output_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a call hangs that began under the one before."""
    begun, over = threading.Event(), threading.Event()

    def hang() -> None:
        with aside():
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=hang)
    thread.start()
    assert begun.wait(60)
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    with aside():
        print("12 %")
    after = sys.stdout
    print("a result")
    over.set()
    thread.join()
    assert after is sys.stdout is other
    assert other.getvalue() == "a result\n"


@pytest.mark.parametrize("window_s", [0.0, -5.0, math.nan, 0.5])
def test_windows_have_a_length(window_s: float) -> None:
    with pytest.raises(ValueError, match="window_s must be at least 1, not"):
        Tool(lambda y, rate: {"vocals": y}, window_s=window_s)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os._exit(7)", "the separator ends its process while it is loaded or tried: exit code 7"),
        ("import os\ndef f(y, rate): os.abort()", "ends its process while it is loaded or tried: SIGABRT"),
        ("import os\ndef f(y, rate): os.kill(os.getpid(), 9)", "or tried: SIGKILL, as where memory is short"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("def f(:", "cannot be loaded: SyntaxError"),
        ("f = 5", "cannot be loaded: TypeError: int is no function"),
        ("def f(y, rate): yield y", "cannot be used: .*:f returned generator, not stems by name"),
        ("def f(y, rate): return {'vocals': y[:, :-1]}", r"cannot be used: .*: vocals has shape \(2, 88199\)"),
        ("def f(y, rate): return {'vocals': y}\nf.stems = 'drums'", "cannot be used: .*:f gave vocals after drums"),
        ("def f(y, rate): return {'vocals': y}\nf.window_s = 0", "cannot be loaded: ValueError: window_s must be"),
    ],
)
def test_a_separator_is_tried_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    """What ends it, or comes to nothing, is one error before anything is written."""
    name = f"tried_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=message) as raised:
        origin_of(f"{name}:f")
    assert f"{name}:f" in str(raised.value)


def test_a_module_that_lies_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may be one of music from anywhere: it is named, and not imported."""
    (tmp_path / "mine_alone.py").write_text("def f(y, rate): return {'vocals': y}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"mine_alone.*it lies in this folder, .*: set PYTHONPATH=\."):
        open_external("mine_alone:f")
    with pytest.raises(ModelError, match="No module named 'not_mine'") as raised:
        open_external("not_mine:f")
    assert "folder" not in str(raised.value)
    (tmp_path / "lacks_another.py").write_text("import not_installed_by_anybody")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="No module named 'not_installed_by_anybody'") as raised:
        open_external("lacks_another:f")
    assert "folder" not in str(raised.value)


def test_what_the_trial_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a separator that prints, goes elsewhere and leaves a thread behind that never ends."""
    file = tmp_path / "restless.py"
    file.write_text(
        "import os, threading, time\n"
        "def f(y, rate):\n"
        "    os.chdir('/')\n"
        "    os.write(1, b'loud\\n')\n"
        "    threading.Thread(target=time.sleep, args=(10**6,)).start()\n"
        "    return {'vocals': y / 2, 'no_vocals': y / 2}\n"
        "f.version = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    expected = {"separator": "restless:f", "separator_version": "7", "separator_sha256": audio.file_sha256(file)}
    assert origin_of("restless:f") == expected
    assert capfd.readouterr().out == ""
    here = ModuleType("notebook")
    vars(here)["f"] = lambda y, rate: {"vocals": y}
    monkeypatch.setitem(sys.modules, "notebook", here)  # which no other process can import
    assert origin_of("notebook:f")["separator"] == "notebook:f"


def test_the_trial_runs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules do not come from the folder that it is started in, and what is no place of modules is passed over."""
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "quiet.py").write_text("def f(y, rate): return {'vocals': y}\nf.version = 'one'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    assert origin_of("quiet:f")["separator_version"] == "one"


def test_a_function_of_the_program_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process can import it, and a notebook has no file: its version is its source, where that is known."""
    notebook = ModuleType("__main__")
    name, digests = "<cell 1>", []
    for gain in ("0.5", "0.25"):
        source = f"def f(y, rate): return {{'vocals': {gain} * y}}\n"
        monkeypatch.setitem(linecache.cache, name, (len(source), None, [source], name))
        exec(compile(source, name, "exec"), vars(notebook))
        monkeypatch.setitem(sys.modules, "__main__", notebook)
        digests.append(origin_of("__main__:f")["separator_sha256"])
        assert digests[-1] == hashlib.sha256(source.encode()).hexdigest()
    assert len(set(digests)) == 2
    monkeypatch.delitem(linecache.cache, name)
    assert origin_of("__main__:f")["separator_sha256"] == ""
    notebook.__spec__ = ModuleSpec("package.program", None)  # of python -m package.program
    assert origin_of("__main__:f")["separator"] == "__main__:f"


def test_functions_and_their_provenance() -> None:
    separator = open_external("test_given_stems:thirds")
    assert separator.stems == ("vocals", "drums", "bass", "other", "guitar")
    assert separator.sha256 == audio.file_sha256(__file__)
    with pytest.raises(ModelError, match="unknown separator 'nobody'; there are: demucs, openunmix"):
        open_external("nobody")
    with pytest.raises(ModelError, match="No module named 'no_such_module'"):
        open_external("no_such_module:f")
    with pytest.raises(ModelError, match="has no attribute 'no_such_function'"):
        open_external("test_given_stems:no_such_function")

    def named(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        raise AssertionError("its stems are known")

    for name, value in {"stems": ("vocals",), "version": "7", "sha256": "ab", "window_s": 3.0}.items():
        setattr(named, name, value)
    tool = tool_of(named)
    assert (tool.stems, tool.version, tool.sha256, tool.window_s) == (("vocals",), "7", "ab", 3.0)


def test_entry_points_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def factory(model: str | None, *, device: str) -> Tool:
        calls.append((model, device))
        return Tool(lambda y, rate: {"other": y}, ("other",), "3", "cd")

    class Points(tuple):
        names = ("ours",)

    def entry_points(group: str, name: str | None = None) -> Any:
        assert group == "stemfeatures.separators"
        return Points([SimpleNamespace(load=lambda: factory)] if name in (None, "ours") else [])

    monkeypatch.setattr("stemfeatures.separation.external.metadata.entry_points", entry_points)
    separator = open_external("ours:large", device="cpu")
    assert (separator.name, separator.version, separator.sha256) == ("ours:large", "3", "cd")
    assert calls == [("large", "cpu")]


def test_digest_of_weights() -> None:
    torch.manual_seed(1)
    one, same, other = (torch.nn.Linear(3, 2) for _ in range(3))
    same.load_state_dict(one.state_dict())
    assert weights_sha256(one) == weights_sha256(same) != weights_sha256(other)
    assert weights_sha256(one.double()) != weights_sha256(same)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_in_stereo(channels: int) -> None:
    """A tool that works in stereo at half the rate: channels stay apart, rate and length come back."""
    seen: list[tuple[int, ...]] = []

    def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(stereo.shape)
        return {"other": 0.5 * stereo}

    times = np.arange(RATE + 1) / RATE
    y = np.stack([np.sin(2 * np.pi * f * times) for f in (200, 300, 500)][:channels]).astype(np.float32)
    found = in_stereo(y, RATE, RATE // 2, run)["other"]
    assert set(seen) == {(2, (RATE + 2) // 2)}
    assert found.shape == y.shape
    np.testing.assert_allclose(found[:, 2_000:-2_000], 0.5 * y[:, 2_000:-2_000], atol=1e-3)


def test_demucs_with_random_weights() -> None:
    """The package itself, with a network that it makes for its own tests: what it is fed and how it is read."""
    torch.manual_seed(0)
    separator = open_external("demucs:demucs_unittest")
    assert separator.stems == ("drums", "bass", "other", "vocals")
    assert len(separator.sha256) == 64
    y = np.random.default_rng(0).normal(0, 0.1, (1, RATE // 2)).astype(np.float32)
    one, two = (separator.separate_array(y, RATE) for _ in range(2))
    for stem in separator.stems:
        assert one[stem].shape == y.shape
        assert np.abs(one[stem]).max() > 0
        np.testing.assert_array_equal(one[stem], two[stem])  # no random shifts
    # Levels in, levels out: the signal is brought to unit variance and back.
    louder = separator.separate_array(4 * y, RATE)
    np.testing.assert_allclose(louder["vocals"], 4 * one["vocals"], atol=1e-3 * float(np.abs(louder["vocals"]).max()))


def stand_in(monkeypatch: pytest.MonkeyPatch, version: str, **modules: Any) -> None:
    for name, content in modules.items():
        module = ModuleType(name.replace("__", "."))
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)


def test_open_unmix(monkeypatch: pytest.MonkeyPatch) -> None:
    class Umx(torch.nn.Module):
        sample_rate, target_models = torch.tensor(44_100.0), {"vocals": 0, "drums": 0}
        complexnorm = SimpleNamespace(mono=False)

        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(0.25))

        def freeze(self) -> None:
            self.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape == (1, 2, RATE)
            return torch.stack([self.gain * x, 0.5 * x], dim=1)

        def to_dict(self, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"vocals": y[:, 0], "drums": y[:, 1]}

    loaded: list[Any] = []
    utils = SimpleNamespace(load_separator=lambda name, device: loaded.append((name, device)) or Umx())
    stand_in(monkeypatch, "1.3", openunmix={"utils": utils})
    separator = open_external("openunmix:umxhq")
    assert loaded == [("umxhq", "cpu")]
    assert (separator.stems, separator.version) == (("vocals", "drums"), "1.3")
    y = np.random.default_rng(0).normal(0, 0.1, (1, RATE)).astype(np.float32)
    np.testing.assert_allclose(separator.separate_array(y, RATE)["vocals"], 0.25 * y, atol=1e-6)


def test_open_unmix_of_one_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each channel comes by itself: of two that are the same, the real filter gives NaN."""

    class Umxse(torch.nn.Module):
        sample_rate, target_models = torch.tensor(44_100.0), {"speech": 0, "noise": 0}
        complexnorm = SimpleNamespace(mono=True)

        def freeze(self) -> None: ...

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape == (2, 1, RATE)
            return torch.stack([0.25 * x, 0.75 * x], dim=1)

        def to_dict(self, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"speech": y[:, 0], "noise": y[:, 1]}

    stand_in(monkeypatch, "1.3", openunmix={"utils": SimpleNamespace(load_separator=lambda name, device: Umxse())})
    separator = open_external("openunmix:umxse")
    for channels in (1, 2):
        y = np.random.default_rng(0).normal(0, 0.1, (channels, RATE)).astype(np.float32)
        found = separator.separate_array(y, RATE)
        np.testing.assert_allclose(found["speech"], 0.25 * y, atol=1e-6)
        np.testing.assert_allclose(found["noise"], 0.75 * y, atol=1e-6)


def test_spleeter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.data").write_bytes(b"weights")

    class Separator:
        def __init__(self, name: str, *, multiprocess: bool) -> None:
            assert (name, multiprocess) == ("spleeter:2stems", False)

        def separate(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
            assert waveform.shape[1] == 2
            return {"vocals": 0.25 * waveform, "accompaniment": 0.75 * waveform}

    class ModelProvider:
        @classmethod
        def default(cls) -> Any:
            return SimpleNamespace(get=lambda name: str(tmp_path) if name == "2stems" else None)

    stand_in(
        monkeypatch, "2.4", spleeter={}, spleeter__model={}, spleeter__separator={"Separator": Separator},
        spleeter__model__provider={"ModelProvider": ModelProvider},
    )  # fmt: skip
    separator = open_external("spleeter:2stems")
    before = separator.sha256
    y = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    np.testing.assert_allclose(separator.separate_array(y, RATE)["accompaniment"], 0.75 * y, atol=1e-6)
    (tmp_path / "model.data").write_bytes(b"other weights")
    assert open_external("spleeter:2stems").sha256 != before


def test_audio_separator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It writes files, and lowers those above 0.9: stems keep their proportions all the same."""
    (tmp_path / "model.ckpt").write_bytes(b"weights")

    class Separator:
        def __init__(self, *, output_dir: str, output_format: str, **options: Any) -> None:
            self.folder = Path(output_dir)
            self.model_instance = SimpleNamespace(model_path=str(tmp_path / "model.ckpt"))

        def load_model(self, name: str = "default.ckpt") -> None:
            assert name == "model.ckpt"

        def separate(self, path: str) -> list[str]:
            y, rate = audio.load(path)
            names = []
            for stem, share in (("Vocals", 3.0), ("Instrumental", 0.5)):
                made = share * y
                peak = float(np.abs(made).max())
                names.append(f"mixture_({stem})_model.wav")
                audio.write(self.folder / names[-1], made * min(1.0, 0.9 / peak), rate)
            return names

    stand_in(monkeypatch, "0.47", audio_separator={}, audio_separator__separator={"Separator": Separator})
    separator = open_external("audio-separator:model.ckpt")
    assert separator.stems == ("vocals", "instrumental")
    assert separator.sha256 == audio.file_sha256(tmp_path / "model.ckpt")
    y = np.random.default_rng(0).uniform(-1, 1, (2, RATE)).astype(np.float32)
    stems = separator.separate_array(y, RATE)
    np.testing.assert_allclose(stems["vocals"], 3 * y, atol=1e-5)
    np.testing.assert_allclose(stems["instrumental"], 0.5 * y, atol=1e-5)


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(ModelError, match=r"spleeter.*to install it: pip install spleeter"):
        open_external("spleeter")


# ---------------------------------------------------------------------------------------------------------- folders


def tone(f0: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * f0 * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    folder = tmp_path / "stems"
    folder.mkdir()
    audio.write(folder / "Vocals.flac", np.stack([0.2 * tone(220, 3, 22_050), 0.4 * tone(220, 3, 22_050)]), 22_050)
    audio.write(folder / "bass.wav", 0.25 * tone(55, 2), RATE)
    audio.write(folder / "mixture.wav", tone(55, 2), RATE)
    (folder / "cover.jpg").write_bytes(b"no audio")
    return folder


def test_a_folder_of_stems(stems: Path) -> None:
    folder = StemFolder(stems)
    assert folder.stems == ("bass", "vocals")
    mixture = np.zeros((2, 3 * RATE), np.float32)
    blocks = (mixture[:, i : i + 40_000] for i in range(0, mixture.shape[1], 40_000))
    parts = list(joined(folder, blocks, RATE, 2))
    assert [p[0].shape for p in parts] == [(2, 40_000)] * 3 + [(2, 12_300)]
    found = {stem: np.concatenate([p[1][stem] for p in parts], axis=-1) for stem in folder.stems}
    assert {stem: y.shape for stem, y in found.items()} == {"bass": (1, 3 * RATE), "vocals": (2, 3 * RATE)}
    # Another rate: resampled.
    expected = np.array([[0.2], [0.4]]) * tone(220, 3)
    np.testing.assert_allclose(found["vocals"][:, 500:-500], expected[:, 500:-500], atol=1e-3)
    # Of another number of channels than the mixture has the mean is taken.
    [(_, mono)] = list(joined(folder, [mixture[:1]], RATE, 1))
    np.testing.assert_allclose(mono["vocals"][0, 500:-500], 0.3 * tone(220, 3)[500:-500], atol=1e-3)
    np.testing.assert_allclose(found["bass"][0, : 2 * RATE], 0.25 * tone(55, 2), atol=1e-6)
    assert np.abs(found["bass"][0, 2 * RATE :]).max() == 0  # it has ended


@pytest.mark.parametrize(
    ("seconds", "message"), [(1.5, r"stem bass\.wav: longer than its mixture"), (4.5, r"longest stem lasts 3\.0 s")]
)
def test_stems_of_another_length(stems: Path, seconds: float, message: str) -> None:
    mixture = np.zeros((1, round(seconds * RATE)), np.float32)
    if seconds < 2:
        audio.write(stems / "bass.wav", tone(55, 2.6), RATE)
        audio.write(stems / "Vocals.flac", tone(220, 1.5, 22_050) * 0.5, 22_050)
    with pytest.raises(SeparationError, match=message):
        list(joined(StemFolder(stems), [mixture], RATE, 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda y: b"RIFF" + bytes(3000), "bass.wav: .*soundfile: Format not recognised"),
        (lambda y: wav(y)[: len(wav(y)) // 2], r"bass\.wav: truncated: "),
        (lambda y: wav(y * np.nan), r"bass\.wav: sample 0 \(0\.000 s\) of channel 0 is nan"),
        (lambda y: wav(y * 2**15), r"bass\.wav: out_of_range: "),
        (lambda y: wav(y[..., :0]), r"bass\.wav: no samples in it"),
    ],
)
def test_a_stem_that_is_damaged(stems: Path, damage: Callable[[np.ndarray], bytes], message: str) -> None:
    """The error names its file, not its mixture alone, and no silence is taken for what is lost."""
    (stems / "bass.wav").write_bytes(damage(tone(55, 2.0)))
    with pytest.raises(SeparationError, match=message):
        list(joined(StemFolder(stems), [np.zeros((1, 2 * RATE), np.float32)], RATE, 1))


def wav(y: np.ndarray) -> bytes:
    file = io.BytesIO()
    sf.write(file, y.T, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_folders_that_hold_no_stems(stems: Path, tmp_path: Path) -> None:
    with pytest.raises(SeparationError, match="no folder of stems: No such file"):
        StemFolder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeparationError, match="no audio files in this folder"):
        StemFolder(tmp_path / "empty")
    before = StemFolder(stems).sha256
    os.utime(stems / "bass.wav", (1, 1))
    assert StemFolder(stems).sha256 == before  # the same bytes
    changed = bytearray((stems / "bass.wav").read_bytes())
    changed[-1] ^= 1
    (stems / "bass.wav").write_bytes(changed)
    os.utime(stems / "bass.wav", (1, 1))  # of the same size and time
    assert StemFolder(stems).sha256 != before
    audio.write(stems / "bass.flac", tone(55, 1) * 0.1, RATE)
    with pytest.raises(SeparationError, match=r"two files of stem 'bass': bass\.flac, bass\.wav"):
        StemFolder(stems)


def test_only_names_of_audio_are_names_of_stems(stems: Path) -> None:
    """What else lies in the folder may be called anything."""
    (stems / "cover\u200e.jpg").write_bytes(b"")
    assert StemFolder(stems).stems == ("bass", "vocals")
    (stems / "bass.wav").rename(stems / "bass\u200e.wav")
    with pytest.raises(SeparationError, match=r"bass.*\.wav: 'bass\\u200e' is no name of a stem"):
        StemFolder(stems)


def test_where_the_stems_of_a_track_are(tmp_path: Path) -> None:
    for name in ("a/one.mp3", "a/two", "three"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    find = lambda *names: find_stem_folder(root, *names)  # noqa: E731
    assert find("a/one.mp3") == root / "a/one.mp3"
    assert find("a/two.flac") == root / "a/two"
    assert find("/music/x/three.wav") == root / "three"
    assert find("7", "a/two.flac") == root / "a/two"
    assert find("../outside") is None
    assert find("nothing.wav") is None
    assert folder_of(root, "../outside") == root / "outside"
    assert folder_of(root, "/") == root / "_"


# --------------------------------------------------------------------------------------------------------- analysis


def song(seconds: float = 6.0) -> dict[str, np.ndarray]:
    """Stems that overlap: a glissando under chords, a bass note, clicks at 120 a minute, a plucked line."""
    rate = 22_050
    times = np.arange(round(seconds * rate)) / rate
    glide = 220 * 2 ** (times / seconds)  # an octave upwards
    phase = 2 * np.pi * np.cumsum(glide) / rate
    beat = times % 0.5
    noise = np.random.default_rng(0).normal(0, 1, len(times))
    parts = {
        "vocals": sum(np.sin(h * phase) / h for h in range(1, 9)),
        "drums": noise * np.exp(-60 * beat),
        "bass": sum(np.sin(2 * np.pi * 55 * h * times) / h for h in range(1, 5)),
        "other": sum(np.sin(2 * np.pi * f * h * times) / h for f in (261.6, 329.6, 392.0) for h in range(1, 6)),
        "guitar": sum(np.sin(2 * np.pi * 196 * h * times) / h for h in range(1, 8)) * np.exp(-4 * beat),
    }
    return {stem: (0.1 * y / np.abs(y).max()).astype(np.float32) for stem, y in parts.items()}


def test_the_analysis_reads_the_given_stems() -> None:
    """True stems against those of the network: F0 of a voice under chords, levels, and a row of the guitar."""
    stems = song()
    mixture = sum(stems.values())
    track = Analyser().from_audio(mixture, 22_050, stems=stems)
    assert track.frames.rows == (*STEM_ROWS, "guitar")
    assert tuple(track.stems) == (*STEM_ROWS, "guitar")
    truth = {stem: float(np.mean(y.astype(np.float64) ** 2)) for stem, y in stems.items()}
    truth["other"] = float(np.mean((stems["other"] + stems["guitar"]).astype(np.float64) ** 2))
    for stem, power in truth.items():
        measured = float(track.frames.stems[stem].energy.mean())
        assert abs(10 * np.log10(measured / power)) < 1.5, stem
    contour = track.contours["vocals"]
    expected = 220 * 2 ** (contour.times_s / 6.0)
    voiced = np.isfinite(contour.f0_hz)
    assert voiced.mean() > 0.8
    cents = 1200 * np.abs(np.log2(contour.f0_hz[voiced] / expected[voiced]))
    assert np.mean(cents < 50) > 0.95
    assert track.stems["bass"]["f0_median_hz"] == pytest.approx(55, rel=0.01)
    assert track.stems["mixture"]["tempo_bpm"] == pytest.approx(120, rel=0.02)
    guitar = track.stems["guitar"]
    assert guitar["harmony_status"] == track.stems["other"]["harmony_status"]
    assert guitar["f0_status"] == "not_applicable"
    assert (track.separator, track.separator_version) == ("stems", "")


def test_stems_must_fit_their_mixture() -> None:
    analyser = Analyser.__new__(Analyser)
    with pytest.raises(ValueError, match="stem 'vocals' has 9 samples, its mixture 10"):
        analyser.from_audio(np.zeros(10), 22_050, stems={"vocals": np.ones(9)})
    for nothing in ({}, {"mixture": np.ones(10)}):
        with pytest.raises(ValueError, match="no stems were given"):
            analyser.from_audio(np.zeros(10), 22_050, stems=nothing)
    with pytest.raises(ValueError, match="two stems are called 'vocals'"):
        analyser.from_audio(np.zeros(10), 22_050, stems={"vocals": np.ones(10), "Vocals": np.ones(10)})


def test_a_mixture_among_the_stems_is_none_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stems = {stem: rng.normal(0, 0.1, 22_050).astype(np.float32) for stem in STEMS}
    mixture = sum(stems.values())
    analyser = Analyser(tiny_checkpoint(tmp_path))
    alone = analyser.from_audio(mixture, 22_050, stems=stems)
    both = analyser.from_audio(mixture, 22_050, stems={**stems, "mixture": mixture})
    for stem in STEMS:
        np.testing.assert_array_equal(both.frames.stems[stem].energy, alone.frames.stems[stem].energy)


def test_stems_of_channels_that_cancel(tmp_path: Path) -> None:
    """A track whose right channel is the negative of the left is analysed as one of them, and so are its stems."""
    left = {"vocals": 0.2 * tone(220, 2), "bass": 0.1 * tone(55, 2)}
    (tmp_path / "stems").mkdir()
    for stem, y in left.items():
        audio.write(tmp_path / "stems" / f"{stem}.wav", np.stack([y, -y]), RATE)
    audio.write(tmp_path / "song.wav", np.stack([sum(left.values()), -sum(left.values())]), RATE)
    audio.write(tmp_path / "mono.wav", sum(left.values()), RATE)
    analyser = Analyser(tiny_checkpoint(tmp_path))
    found = analyser.from_file(tmp_path / "song.wav", stems=tmp_path / "stems")
    expected = analyser.from_audio(sum(left.values()), RATE, stems=left)
    assert found.polarity_inverted_ratio == 1
    for stem in STEMS:
        energy = expected.frames.stems[stem].energy
        np.testing.assert_allclose(found.frames.stems[stem].energy, energy, rtol=1e-3, atol=1e-9)


def test_given_stems_are_kept_with_the_channels_of_the_track(tmp_path: Path) -> None:
    y = 0.2 * tone(220, 1)
    (tmp_path / "stems").mkdir()
    audio.write(tmp_path / "stems" / "vocals.wav", np.stack([y, 0.5 * y]), RATE)
    audio.write(tmp_path / "stems" / "bass.wav", 0.1 * tone(55, 1), RATE)
    audio.write(tmp_path / "song.wav", np.stack([y, 0.5 * y]) + 0.1 * tone(55, 1), RATE)
    Analyser(tiny_checkpoint(tmp_path)).from_file(
        tmp_path / "song.wav", stems=tmp_path / "stems", keep_stems=tmp_path / "kept"
    )
    found = {path.stem: audio.load(path)[0] for path in (tmp_path / "kept").iterdir()}
    assert set(found) == {"vocals", "bass"}
    np.testing.assert_allclose(found["vocals"], np.stack([y, 0.5 * y]), atol=1e-6)
    np.testing.assert_allclose(found["bass"], np.tile(0.1 * tone(55, 1), (2, 1)), atol=1e-6)


# ---------------------------------------------------------------------------------------------------------- extract


def rows(out: Path, *columns: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    frame = open_features(out).to_pandas("stems", ["track_id", "stem", *columns])
    return {(r[0], r[1]): tuple(r[2:]) for r in frame.astype(object).itertuples(index=False)}


@pytest.mark.usefixtures("fresh_network")
def test_extract_with_a_separator_and_its_stems_again(tmp_path: Path, model: Path) -> None:
    music, out, kept = tmp_path / "music", tmp_path / "out", tmp_path / "kept"
    music.mkdir()
    for i in range(2):
        audio.write(music / f"{i}.wav", np.tile(0.2 * tone(220 + 60 * i, 1.0), (2, 1)), RATE)
    options: dict[str, Any] = {"model": model, "device": "cpu", "jobs": 1}
    own = {**options, "separator": "test_given_stems:thirds"}
    assert extract_catalog(music, out, keep_stems=kept, **own).n_done == 2
    digest = audio.file_sha256(__file__)
    separated = rows(out, "energy_share", "loudness_integrated_lufs", "separator", "separator_sha256")
    names = (*STEM_ROWS, "guitar")
    assert set(separated) == {(f"{i}.wav", stem) for i in range(2) for stem in names}
    assert {r[2:] for r in separated.values()} == {("test_given_stems:thirds", digest)}
    # Powers 25 : 4 : 1 : 1 : 1; of a mask the square counts, and the guitar is part of other.
    masks = np.array([25, 4, 1, 2]) / 32
    for stem, share in zip(STEMS, masks**2 / np.sum(masks**2)):
        assert separated["0.wav", stem][0] == pytest.approx(share, rel=1e-3)
    tracks = open_features(out).to_pandas("tracks")
    assert set(tracks["separator"]) == {"test_given_stems:thirds"}
    assert extract_catalog(music, out, **own).n_skipped == 2
    y, rate = audio.load(kept / "1.wav" / "guitar.wav")
    assert (y.shape, rate) == ((2, RATE), RATE)
    np.testing.assert_allclose(y, 0.1 * audio.load(music / "1.wav")[0], atol=1e-7)
    # The files that were kept give the same rows, and are told apart.
    summary = extract_catalog(music, out, stems_from=kept, **options)
    assert summary.n_done == 2
    assert summary.outdated == {"with another separator (test_given_stems:thirds)": 2}
    again = rows(out, "energy_share", "loudness_integrated_lufs", "separator", "separator_sha256")
    for key, row in separated.items():
        assert again[key][:2] == pytest.approx(row[:2], rel=1e-4, nan_ok=True), key
        assert again[key][2:] == ("stems", StemFolder(kept / key[0]).sha256)
    assert extract_catalog(music, out, stems_from=kept, **options).n_skipped == 2
    bass = kept / "1.wav" / "bass.wav"
    os.utime(bass, (5, 5))
    assert extract_catalog(music, out, stems_from=kept, **options).n_skipped == 2  # the same stems at another time
    audio.write(bass, 0.9 * audio.load(bass)[0], RATE)
    summary = extract_catalog(music, out, stems_from=kept, **options)
    assert (summary.n_done, summary.n_skipped, summary.outdated) == (1, 1, {"from other stems": 1})
    # A track without stems is an error of its own.
    audio.write(music / "2.wav", 0.2 * tone(300, 1.0), RATE)
    summary = extract_catalog(music, out, stems_from=kept, **options)
    assert (summary.n_done, summary.n_skipped, summary.n_failed) == (0, 2, 1)
    assert (summary.errors[0].stage, summary.errors[0].error_type) == ("separate", "SeparationError")
    # And the checkpoint's own stems are other work.
    assert extract_catalog(music, out, **options).outdated == {"with another separator (stems)": 2}
    assert set(open_features(out).to_pandas("tracks")["separator"].isna()) == {True}


def test_a_separator_that_ends_its_process_at_a_track(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one job, too: that track is told, the others are done, it is tried once, also of several portions."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "deadly_at_a_track.py").write_text(
        "import os\n"
        "import pathlib\n"
        "with pathlib.Path(__file__).with_suffix('.processes').open('a') as file:\n"
        "    print(os.getpid(), file=file)\n"
        "with pathlib.Path(__file__).with_suffix('.safe_paths').open('a') as file:\n"
        "    print(os.environ.get('PYTHONSAFEPATH'), file=file)\n"
        "def f(y, rate):\n"
        "    if abs(y).max() > 0.5:\n"
        "        os._exit(3)\n"
        "    return {'vocals': y / 2, 'no_vocals': y / 2}\n"
        "f.stems = ('vocals', 'no_vocals')\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(portions, "PORTION_ROWS", 2)
    tried: list[str] = []
    monkeypatch.setattr(prepare, "origin_of", lambda name: tried.append(name) or origin_of(name))
    for i, gain in enumerate((0.2, 0.9, 0.3, 0.4)):
        audio.write(tmp_path / f"{i}.wav", gain * tone(220 + 60 * i, 0.5)[None], RATE)
    pd.DataFrame({"path": [f"{i}.wav" for i in range(4)]}).to_parquet(tmp_path / "catalog.parquet")
    options: dict[str, Any] = {"model": model, "device": "cpu", "jobs": 1, "separator": "deadly_at_a_track:f"}
    summary = extract_catalog(tmp_path / "catalog.parquet", tmp_path / "out", **options)
    assert (summary.n_done, summary.n_failed, summary.n_workers) == (3, 1, 1)
    assert tried == ["deadly_at_a_track:f"]
    error = open_features(tmp_path / "out").to_pandas("errors").iloc[0]
    assert (error["track_id"], error["stage"], error["attempt"]) == ("1.wav", "worker", 2)
    assert "a crash in the separator deadly_at_a_track:f or in a decoder" in error["message"]
    processes = (tmp_path / "modules" / "deadly_at_a_track.processes").read_text().split()
    assert processes
    assert str(os.getpid()) not in processes
    # A program that it starts, such as python inference.py, finds the modules beside its script.
    assert set((tmp_path / "modules" / "deadly_at_a_track.safe_paths").read_text().split()) == {"None"}
    again = extract_catalog(tmp_path / "catalog.parquet", tmp_path / "out", retry_failed=False, **options)
    assert (again.n_skipped, again.n_known_failed, again.n_done) == (3, 1, 0)


def test_progress_with_a_separator_in_its_process_comes_by_track(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "slow_at_each_track.py").write_text(
        "import time\n"
        "def f(y, rate):\n"
        "    time.sleep(1.0)\n"
        "    return {'vocals': y / 2, 'no_vocals': y / 2}\n"
        "f.stems = ('vocals', 'no_vocals')\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    monkeypatch.setattr(plan, "SHARDS_PER_WORKER", 1)
    (tmp_path / "music").mkdir()
    for i in range(3):
        audio.write(tmp_path / "music" / f"{i}.wav", 0.3 * tone(220 + 60 * i, 0.5)[None], RATE)
    (tmp_path / "music" / "3.wav").write_bytes(b"no audio")
    seen: list[tuple[str, int, int, float]] = []
    summary = extract_catalog(
        tmp_path / "music", tmp_path / "out", model=model, device="cpu", jobs=1, separator="slow_at_each_track:f",
        progress=lambda p: seen.append((p.state, p.n_done, p.n_failed, p.audio_s)),
    )  # fmt: skip
    assert (summary.n_done, summary.n_failed, summary.audio_s) == (3, 1, pytest.approx(1.5))
    done = [n_done for _, n_done, _, _ in seen]
    assert done == sorted(done)
    assert set(done) == {0, 1, 2, 3}
    assert ("running", 1, pytest.approx(0.5)) in [(state, n_done, audio_s) for state, n_done, _, audio_s in seen]
    assert seen[-1] == ("finished", 3, 1, pytest.approx(1.5))


@pytest.mark.usefixtures("fresh_network")
def test_keep_the_stems_of_the_checkpoint(tmp_path: Path, model: Path) -> None:
    y = np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32)
    audio.write(tmp_path / "song.wav", y, RATE)
    track = Analyser(model).from_file(tmp_path / "song.wav", keep_stems=tmp_path / "kept")
    assert track.separator is None
    found = {path.stem: audio.load(path)[0] for path in (tmp_path / "kept").iterdir()}
    assert set(found) == set(STEMS)
    np.testing.assert_allclose(sum(found.values()), audio.load(tmp_path / "song.wav")[0], atol=1e-5)


def test_no_stem_file_is_left_of_a_track_that_fails(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio.write(tmp_path / "song.wav", 0.1 * tone(220, 1.0), RATE)
    analyser = Analyser(model)

    def fail(runner: SegmentRunner, batch: Any) -> None:
        raise SeparationError("not finite")

    monkeypatch.setattr(SegmentRunner, "_run", fail)
    with pytest.raises(SeparationError, match="not finite"):
        analyser.from_file(tmp_path / "song.wav", keep_stems=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.usefixtures("fresh_network")
def test_commands(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio.write(tmp_path / "song.wav", 0.2 * tone(220, 1.0), RATE)
    song_path, separator = str(tmp_path / "song.wav"), "test_given_stems:thirds"
    argv = ["separate", song_path, "-o", str(tmp_path / "stems"), "--separator", separator, "--stems", "guitar"]
    assert cli.main(argv) == 0
    [written] = capsys.readouterr().out.split()
    np.testing.assert_allclose(audio.load(written)[0][0], 0.02 * tone(220, 1.0), atol=1e-6)
    assert cli.main(["describe", song_path, "-m", str(model), "--separator", separator]) == 0
    assert "guitar" in capsys.readouterr().out
    assert cli.main(["describe", song_path, "-m", str(model), "--stems-from", str(tmp_path / "none")]) == 3
    assert "no folder of stems" in capsys.readouterr().err
    both = ["--separator", separator, "--stems-from", str(tmp_path / "stems")]
    assert cli.main(["describe", song_path, *both]) == 2
    assert cli.main(["extract", song_path, "-o", str(tmp_path / "out"), *both]) == 2
    assert cli.main(["extract", song_path, "-o", str(tmp_path / "out"), "--separator", "nobody"]) == 2
    assert "unknown separator 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../x", "a/b", "a\\b", "..", "vo\x1bcals", "vo\u202ecals"])
def test_names_of_stems_are_names_of_files(name: str) -> None:
    """With --keep-stems they would be written elsewhere."""
    with pytest.raises(SeparationError, match="is no name of a stem") as raised:
        stem_name(name)
    assert str(raised.value).isprintable()
    assert stem_name("Böse Gitarre 2.1") == "böse_gitarre_2.1"
    assert stem_name("lead\u200cvocals") == "lead\u200cvocals"
