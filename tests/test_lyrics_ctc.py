"""Words found by the letters of CTC networks: known probabilities, and a real class of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from pipelines import cli
from stemfeatures.audio import load, write
from stemfeatures.errors import ModelError
from stemfeatures.lyrics import Aligner, parse_lyrics
from stemfeatures.lyrics.acoustics import load_acoustics
from stemfeatures.lyrics.alignment import LAG_S
from stemfeatures.lyrics.ctc import CtcAcoustics, CtcModel, emissions, load_ctc
from stemfeatures.lyrics.graph import build_graph
from stemfeatures.lyrics.viterbi import best_path
from stemfeatures.lyrics.vocals import Vocals

SAMPLES = Path(__file__).parent.parent / "catalog_samples"
LABELS = ("-", "|", *"abcdefghijklmnopqrstuvwxyz'")


def _model(letters: str = "", labels: tuple[str, ...] = LABELS) -> CtcModel:
    """A network that hears ``letters``, one every 20 ms: ``-`` a blank, ``|`` between words."""
    heard = np.full((len(letters), len(labels)), -9.0)
    heard[np.arange(len(letters)), [labels.index(letter) for letter in letters]] = -0.01

    def emit(signal: np.ndarray) -> np.ndarray:
        silence = np.full((len(signal) // 320 + 1 - len(letters), len(labels)), -9.0)
        silence[:, 0] = -0.01
        return np.concatenate([heard, silence])

    return CtcModel("known", labels, (0, 1), 0.02, emit)


def _vocals(seconds: float) -> Vocals:
    return Vocals(np.zeros(int(16_000 * seconds), np.float32), np.ones(int(43 * seconds) + 1, bool), seconds)


def _aligned(letters: str, text: str, seconds: float = 2.0):
    return Aligner(acoustics=CtcAcoustics(_model(letters))).from_vocals(_vocals(seconds), text)


def test_words_are_found_where_their_letters_are():
    #          0         10        20        30        40
    letters = "----h-el--l-o---|---w---o-r-l-d-----||-"
    alignment = _aligned(letters, "Hello, world!")
    assert alignment.status == "ok"
    first, second = alignment.words
    assert [p.phone for p in first.phones] == list("hello")
    starts = [p.start_s - LAG_S for p in (*first.phones, *second.phones)]
    expected = [0.02 * k for k in (4, 6, 7, 10, 12, 20, 24, 26, 28, 30)]
    np.testing.assert_allclose(starts, expected, atol=0.011)
    assert 0.02 * 12 < first.end_s - LAG_S < 0.02 * 16
    assert all(w.confidence > 0.9 for w in alignment.words)


@pytest.mark.parametrize("place", [0, 1])
def test_of_lines_that_stand_twice_those_without_a_known_letter_are_not_sung(place: int):
    lines = ["hey you", "\u0434\u0430"]
    labels = ("-", "|", *"heyou")
    letters = 4 * "--h-e-y-|--y-o-u-|--"
    model = _model(letters, labels)
    assert model.spell(lines[1]) == []
    text = 4 * "\n".join([*lines, ""] if place == 0 else [*reversed(lines), ""])
    alignment = Aligner(acoustics=CtcAcoustics(model)).from_vocals(_vocals(2.0), text)
    assert alignment.status == "ok"
    assert f"line {place + 1} of each 2 is sung" in alignment.message
    assert [word.word for word in alignment.words] == text.split()
    starts = [word.start_s for word in alignment.words]
    timed = [start - LAG_S for start in starts if start is not None]
    np.testing.assert_allclose(timed, [0.4 * k + at for k in range(4) for at in (0.04, 0.22)], atol=0.011)
    assert [word.word for word, start in zip(alignment.words, starts) if start is None] == 4 * lines[1:]


def test_equal_letters_need_a_blank_and_others_do_not():
    graph = build_graph(parse_lyrics("all"), _model(), say=_model().spell)
    columns = {letter: k + 1 for k, letter in enumerate(graph.senones)}
    a, ell = columns[LABELS.index("a")], columns[LABELS.index("l")]

    def total(*emitted: int) -> float:
        """Of the best path between two pauses."""
        emitted = (0, *emitted, 0)
        rows = np.full((len(emitted), 3), -10.0, np.float32)
        rows[np.arange(len(emitted)), emitted] = 0
        return best_path(rows, graph.states)[1]

    assert total(a, ell, 0, ell) > -5
    assert total(0, a, 0, ell, 0, ell, 0) > -5
    assert total(a, ell, ell) < -9


@pytest.mark.parametrize(
    ("token", "letters"),
    [
        ("(Don't!)", "don't"),
        ("Señor", "senor"),
        ("Привет", "privet"),
        ("—", ""),
        ("21", "twentyone"),
        ("naïve", "naive"),
    ],
)
def test_tokens_in_the_letters_of_the_network(token: str, letters: str):
    assert _model().spell(token) == ([tuple(letters)] if letters else [])


def test_capital_letters_and_letters_of_their_own():
    upper = CtcModel("upper", ("<pad>", "|", *"ABCDEÑ"), (0, 1), 0.02, lambda y: y)
    assert upper.spell("cabeña") == [tuple("CABEÑA")]
    assert upper.spell("xyz") == []


def test_long_signals_are_heard_in_windows():
    """Each frame of the network says what its samples are, whatever window they came in."""
    values = np.repeat(np.arange(2600), 320).astype(np.float32)

    def emit(signal: np.ndarray) -> np.ndarray:
        assert len(signal) <= 16_000 * 25
        frames = signal[: len(signal) // 320 * 320].reshape(-1, 320)
        return np.stack([frames.mean(axis=1), frames.std(axis=1)], axis=1)

    found = emissions(CtcModel("count", ("-", "a"), (0,), 0.02, emit), values)
    assert found.shape == (2600, 2)
    np.testing.assert_allclose(found[:, 0], np.arange(2600), rtol=1e-3)
    np.testing.assert_array_equal(found[:, 1], 0)
    with pytest.raises(ModelError, match="expected"):
        emissions(CtcModel("short", ("-", "a"), (0,), 0.02, lambda y: np.zeros((3, 2))), values)


def test_unknown_models_are_named():
    with pytest.raises(ModelError, match=r"no acoustic model 'nothing'.*transformers, torchaudio"):
        load_ctc("nothing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 of random weights, saved as those that people have."""
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("wav2vec")
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    vocabulary |= {letter: 5 + k for k, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")}
    (path / "vocab.json").write_text(json.dumps(vocabulary))
    transformers.Wav2Vec2CTCTokenizer(path / "vocab.json").save_pretrained(path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(path)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(path)
    return path


def test_a_network_of_transformers(folder: Path):
    import torch
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    model = load_ctc(f"transformers:{folder}")
    assert (model.labels[4], model.labels[5], model.silent, model.frame_s) == ("|", "A", (0, 4), 0.02)
    signal = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    with torch.inference_mode():
        inputs = Wav2Vec2FeatureExtractor.from_pretrained(folder)(signal, sampling_rate=16_000, return_tensors="pt")
        network = Wav2Vec2ForCTC.from_pretrained(folder).eval()
        expected = torch.log_softmax(network(**inputs).logits[0], dim=-1).numpy()
    np.testing.assert_allclose(model.emit(signal), expected, atol=1e-5)
    acoustics = load_acoustics(f"transformers:{folder}")
    alignment = Aligner(acoustics=acoustics).from_vocals(Vocals(signal, np.ones(87, bool), 2.0), "over the hills")
    assert alignment.status in ("ok", "no_fit")
    assert 0 <= alignment.score <= 1
    with pytest.raises(ModelError, match="nowhere"):
        load_ctc(f"transformers:{folder}/nowhere")


def test_a_file_that_was_cut_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    y, rate = load(SAMPLES / "truth/morning-light/vocals.flac")
    write(tmp_path / "vocals.wav", y[:, : 4 * rate], rate)
    whole = (tmp_path / "vocals.wav").read_bytes()
    (tmp_path / "song.txt").write_text("over the hills")
    wanted = ["align", str(tmp_path / "vocals.wav"), str(tmp_path / "song.txt"), "--separated"]
    assert cli.main(wanted) in (0, 3)
    told = capsys.readouterr()
    assert json.loads(told.out)["message"] is None
    assert len(told.err.splitlines()) == 1
    (tmp_path / "vocals.wav").write_bytes(whole[: len(whole) // 2])
    assert cli.main(wanted) in (0, 3)
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert 1.9 < document["duration"] < 2.1
    assert "of 4.00 s declared" in document["message"]
    assert told.err.splitlines()[0] == f"{tmp_path / 'vocals.wav'}: {document['message']}"
    assert cli.main([*wanted, "--quiet"]) in (0, 3)
    assert capsys.readouterr().err == ""


def test_the_command_aligns_letters(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    y, rate = load(SAMPLES / "truth/morning-light/vocals.flac")
    write(tmp_path / "vocals.wav", y[:, : 4 * rate], rate)
    (tmp_path / "song.txt").write_text("over the hills")
    wanted = ["align", str(tmp_path / "vocals.wav"), str(tmp_path / "song.txt"), "--separated", "--acoustics"]
    assert cli.main([*wanted, f"transformers:{folder}"]) in (0, 3)
    document = json.loads(capsys.readouterr().out)
    assert document["status"] in ("ok", "no_fit")
    assert [word["word"] for word in document["words"]] == ["over", "the", "hills"]
    assert cli.main([*wanted, "nothing:here"]) == 2
    assert "no acoustic model 'nothing:here'" in capsys.readouterr().err
