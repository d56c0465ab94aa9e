"""Paths through the graph of lyrics, and words in time in songs whose truth is known."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from stemfeatures._util import large_arrays
from stemfeatures.audio import resample
from stemfeatures.generator.sing.voice import VoiceBank, VoiceStyle, speak
from stemfeatures.lyrics import Aligner, acoustics, cepstra, observations, onsets, parse_lyrics, phone_network
from stemfeatures.lyrics.acoustic_model import installed_model, read_acoustic_model
from stemfeatures.lyrics.corridor import CoarsePhones, corridor_around, spread
from stemfeatures.lyrics.graph import GraphCosts, build_graph
from stemfeatures.lyrics.hints import LineHints
from stemfeatures.lyrics.observations import observe
from stemfeatures.lyrics.viterbi import GROUP, NEVER, Corridor, StateGraph, best_path
from stemfeatures.lyrics.vocals import Vocals, sung_frames

SAMPLES = Path(__file__).parent.parent / "catalog_samples"


def _random_graph(rng: np.random.Generator, n: int) -> StateGraph:
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, n, (2 * n, 2)) if a not in (b, b + 1)})
    step = np.where(rng.random(n) < 0.7, rng.normal(size=n), NEVER).astype(np.float32)
    step[0] = NEVER
    final = np.where(rng.random(n) < 0.5, 0, NEVER).astype(np.float32)
    final[-1] = 0
    return StateGraph(
        rng.integers(0, 4, n).astype(np.int32),
        rng.normal(size=n).astype(np.float32),
        step,
        np.array([a for a, _ in pairs], np.int32),
        np.array([b for _, b in pairs], np.int32),
        rng.normal(size=len(pairs)).astype(np.float32),
        rng.normal(size=n).astype(np.float32),
        final,
    )


def _move(graph: StateGraph, origin: int, target: int) -> float:
    found = [float(NEVER)]
    if origin == target:
        found.append(float(graph.stay[target]))
    if origin == target - 1:
        found.append(float(graph.step[target]))
    for a, b, score in zip(graph.jump_target, graph.jump_origin, graph.jump):
        if (a, b) == (target, origin):
            found.append(float(score))
    return max(found)


def _total(graph: StateGraph, observations: np.ndarray, path: tuple[int, ...]) -> float:
    total = (
        graph.initial[path[0]]
        + graph.final[path[-1]]
        + sum(observations[t, graph.column[s]] for t, s in enumerate(path))
    )
    return float(total + sum(_move(graph, a, b) for a, b in itertools.pairwise(path)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("memory", [1, 10**6])
def test_best_path_is_the_best_of_all(seed: int, memory: int):
    rng = np.random.default_rng(seed)
    graph = _random_graph(rng, 4)
    observations = rng.normal(size=(6, 4)).astype(np.float32) * 3
    totals = {path: _total(graph, observations, path) for path in itertools.product(range(4), repeat=6)}
    path, score = best_path(observations, graph, memory=memory)
    assert score == pytest.approx(max(totals.values()), abs=1e-4)
    assert totals[tuple(int(s) for s in path)] == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("memory", [1, 10**6])
def test_what_is_added_to_a_group_of_states_counts(memory: int):
    rng = np.random.default_rng(3)
    graph = _random_graph(rng, 4)
    observations = rng.normal(size=(6, 4)).astype(np.float32) * 3
    groups = np.array([0, 1, 1, 2], np.int32)
    added = rng.normal(size=(6, 3)).astype(np.float32) * 5
    totals = {
        path: _total(graph, observations, path) + sum(added[t, groups[s]] for t, s in enumerate(path))
        for path in itertools.product(range(4), repeat=6)
    }
    path, score = best_path(observations, graph, memory=memory, groups=groups, bonus=lambda a, b: added[a:b])
    assert score == pytest.approx(max(totals.values()), abs=1e-4)
    assert tuple(int(s) for s in path) == max(totals, key=totals.__getitem__)


def test_bounded_memory_gives_the_same_path():
    rng = np.random.default_rng(0)
    graph = _random_graph(rng, 60)
    observations = rng.normal(size=(700, 4)).astype(np.float32)
    whole, score = best_path(observations, graph)
    parts, same = best_path(observations, graph, memory=1)
    np.testing.assert_array_equal(whole, parts)
    assert score == same


def test_states_far_behind_the_best_are_left_out():
    """A chain of 600 states of which each is sung for four frames: few are near the best at a time."""
    rng = np.random.default_rng(4)
    n = 600
    graph = StateGraph(
        np.arange(n, dtype=np.int32),
        np.zeros(n, np.float32),
        np.append(NEVER, np.zeros(n - 1)).astype(np.float32),
        np.array([500], np.int32),
        np.array([100], np.int32),
        np.array([-30], np.float32),
        np.append(0, np.full(n - 1, NEVER)).astype(np.float32),
        np.append(np.full(n - 1, NEVER), 0).astype(np.float32),
    )
    sung = np.repeat([*range(100), *range(500, 600)], 4)
    observations = rng.normal(size=(len(sung), n)).astype(np.float32) - 3
    observations[np.arange(len(sung)), sung] = 0
    whole, score = best_path(observations, graph, beam=np.inf, memory=1)
    assert np.mean(whole == sung) > 0.97
    for memory in (1, 10**6):
        near, same = best_path(observations, graph, beam=60, memory=memory)
        np.testing.assert_array_equal(near, whole)
        assert same == score
    # a beam in which nothing comes to an end is opened
    reached, low = best_path(observations[:70], graph, beam=20)
    assert len(reached) == 0
    assert low == -np.inf


def test_a_path_in_a_corridor_is_the_best_that_lies_in_it():
    """The same as where all else is forbidden; a corridor around the best path changes nothing."""
    rng = np.random.default_rng(5)
    n, n_frames, period = 4 * GROUP + 10, 90, 20
    graph = _random_graph(rng, n)
    columns = rng.integers(0, 40, n).astype(np.int32)
    graph = replace(graph, column=columns)
    observations = rng.normal(size=(n_frames, 40)).astype(np.float32)
    lists = [[0, 1], [1, 2], [2, 3, 4], [0, 4], [0, 1, 2, 3, 4]]
    first = np.cumsum([0, *map(len, lists)]).astype(np.int32)
    corridor = Corridor(period, np.concatenate(lists).astype(np.int32), first)
    outside = np.full((n_frames, n), NEVER, np.float32)
    for t in range(n_frames):
        for group in lists[t // period]:
            outside[t, group * GROUP : (group + 1) * GROUP] = 0
    forbidden = {"groups": np.arange(n, dtype=np.int32), "bonus": lambda a, b: outside[a:b]}
    expected, score = best_path(observations, graph, **forbidden)
    for memory in (1, 10**6):
        for beam in (1000.0, np.inf):
            path, same = best_path(observations, graph, corridor=corridor, memory=memory, beam=beam)
            np.testing.assert_array_equal(path, expected)
            assert same == pytest.approx(score)
    free, most = best_path(observations, graph)
    assert most > score
    around = [sorted(set((free[t : t + period] // GROUP).tolist())) for t in range(0, n_frames, period)]
    first = np.cumsum([0, *map(len, around)]).astype(np.int32)
    path, same = best_path(
        observations, graph, corridor=Corridor(period, np.concatenate(around).astype(np.int32), first)
    )
    np.testing.assert_array_equal(path, free)
    assert same == pytest.approx(most)


def test_a_corridor_without_a_way_out_is_left():
    graph = _random_graph(np.random.default_rng(6), 3 * GROUP)
    graph = replace(graph, final=np.where(np.arange(3 * GROUP) < 2 * GROUP, NEVER, 0).astype(np.float32))
    observations = np.zeros((30, 4), np.float32)
    shut = Corridor(31, np.array([0], np.int32), np.array([0, 1], np.int32))
    path, score = best_path(observations, graph, corridor=shut)
    np.testing.assert_array_equal(path, best_path(observations, graph)[0])
    assert np.isfinite(score)


def test_the_coarse_graph_has_the_same_phones(model):
    text = parse_lyrics("ba see\ngo fun kit\n\nkit ba")
    fine, coarse = build_graph(text, model, say=_one_way), build_graph(text, CoarsePhones(model), say=_one_way)
    assert fine.phones == coarse.phones
    assert len(coarse.phone) < 0.4 * len(fine.phone)
    order = [int(p) for p in coarse.phone if p >= 0]
    vowel = coarse.phones.index("AA")
    assert order.count(vowel) == 2
    assert order.count(coarse.phones.index("B")) == 1
    # a path that lasts: pause, b, a for eight frames, pause
    states = [0, order.index(0) + 1, *[2] * 2, *[3] * 6, 4]
    assert coarse.phone[states].tolist() == [-1, 0, *[1] * 8, -1]
    found = spread(np.array(states), coarse, fine)
    assert fine.phone[found].tolist() == coarse.phone[states].tolist()
    assert np.all(np.diff(found[2:10]) >= 1)
    assert found[9] - found[2] >= 7
    corridor = corridor_around(np.array(states), coarse, fine)
    assert corridor.mask(len(fine.phone))[:GROUP].all()


def test_no_path_is_said_so():
    graph = replace(_random_graph(np.random.default_rng(1), 3), final=np.full(3, NEVER, np.float32))
    path, score = best_path(np.zeros((5, 4), np.float32), graph)
    assert len(path) == 0
    assert score == -np.inf


def _sung(graph, tokens: list[int]) -> np.ndarray:
    """Observations of somebody who sings tokens of a graph, 4 frames a state, with pauses of 5 frames between."""
    column = graph.states.column
    columns = [0] * 5
    for token in tokens:
        first = np.flatnonzero(graph.token == token)
        columns += [int(column[s]) for s in first[: len(set(graph.phone[first])) * 3] for _ in range(4)] + [0] * 5
    rows = np.full((len(columns), len(graph.senones) + 1), -6.0, np.float32)
    rows[np.arange(len(columns)), columns] = 0
    return rows


def _tokens(graph, observations: np.ndarray) -> list[int]:
    path, _ = best_path(observations, graph.states)
    token = graph.token[path]
    return [int(token[t]) for t in np.flatnonzero(np.diff(token, prepend=-2)) if token[t] >= 0]


@pytest.fixture(scope="module")
def model():
    return read_acoustic_model(installed_model() / "en-us")


def _one_way(word: str) -> list[tuple[str, ...]]:
    """Words of their own phones each."""
    return [
        {"ba": ("B", "AA"), "see": ("S", "IY"), "go": ("G", "OW"), "fun": ("F", "AH", "N"), "kit": ("K", "IH", "T")}[
            word.strip("([])")
        ]
    ]


@pytest.mark.parametrize(
    ("text", "sung"),
    [
        ("ba see go", [0, 1, 2]),
        ("ba see go fun", [0, 1, 3]),  # a word is left out
        ("ba see\ngo fun\nkit ba", [0, 1, 4, 5]),  # a line is left out
        ("ba see x2\ngo", [0, 1, 0, 1, 3]),  # a line says that it is sung twice
        ("ba see x2\ngo", [0, 1, 3]),  # though it says so it is sung once
        ("ba x2\ngo", [0, 2]),
        ("ba see\n\ngo fun\n\nkit", [0, 1, 2, 3, 0, 1, 4]),  # a stanza comes again
        ("ba (see go) fun", [0, 1, 2, 3]),
        ("ba (see go) fun (kit) (ba)", [0, 3, 5]),  # echoes are left out
        ("ba (see) (go) fun", [0, 2, 3]),
        ("(ba see) go", [2]),
        ("ba (see [go] ba) fun kit", [0, 4, 5]),
    ],
)
def test_what_may_be_sung(model, text: str, sung: list[int]):
    graph = build_graph(parse_lyrics(text), model, costs=GraphCosts(20, 30, 30, 5, 5), say=_one_way)
    found = _tokens(graph, _sung(graph, sung))
    assert found == sung


@pytest.mark.parametrize(("pause_s", "tokens"), [(0, [0, 1]), (7, [2, 3]), (12, [0, 1])])
def test_times_of_lines_tell_which_of_two_equal_lines_is_sung(model, pause_s: int, tokens: list[int]):
    text = parse_lyrics("[00:00.50][00:09.50]ba see\n[00:04.50]ba see")
    assert (text.lines[0].start_s, text.lines[0].again_s) == (0.5, (9.5,))
    graph = build_graph(text, model, costs=GraphCosts(20, 30, 30), say=_one_way)
    silence = np.full((100 * pause_s, len(graph.senones) + 1), -6.0, np.float32)
    silence[:, 0] = 0
    hints = LineHints(text)
    observations = np.concatenate([silence, _sung(graph, [0, 1])])
    path, _ = best_path(observations, graph.states, groups=hints.groups(text, graph.token), bonus=hints.bonus)
    assert list(dict.fromkeys(graph.token[path][graph.token[path] >= 0].tolist())) == tokens


def test_no_words_no_times():
    aligner = Aligner()
    silence = Vocals(np.zeros(32_000, np.float32), np.zeros(86, bool), 2.0)
    assert aligner.from_vocals(silence, "[Chorus]\n—").status == "no_words"
    assert aligner.from_vocals(silence, "").status == "no_words"
    alignment = aligner.from_vocals(silence, "hello world")
    assert alignment.status == "no_vocals"
    assert [(w.word, w.start_s) for w in alignment.words] == [("hello", None), ("world", None)]
    assert aligner.from_audio(np.zeros(22_050), 22_050, "hello world").status == "no_vocals"


@pytest.mark.parametrize("text", ["all of a book\n" * 1000, "a" * 20_000, "again and again x16\n" * 60])
def test_more_than_can_be_sung_is_refused_at_once(text: str, monkeypatch: pytest.MonkeyPatch):
    aligner = Aligner()
    monkeypatch.setattr(aligner.acoustics, "search", lambda *_: pytest.fail("looked for"))
    sung = Vocals(np.random.default_rng(0).normal(scale=0.1, size=32_000).astype(np.float32), np.ones(86, bool), 2.0)
    alignment = aligner.from_vocals(sung, text)
    assert (alignment.status, alignment.score) == ("no_fit", 0.0)
    assert {word.start_s for word in alignment.words} == {None}


@pytest.fixture(scope="module")
def rio() -> tuple[Vocals, list[list], Aligner]:
    aligner = Aligner()
    lines = json.loads((SAMPLES / "truth/rio.json").read_text())["lyrics"]
    return aligner.separator.from_file(SAMPLES / "Río.flac"), lines, aligner


def test_lines_of_a_song_are_found(rio):
    vocals, lines, aligner = rio
    text = "[Verse]\n" + "\n".join(line for _, _, line in lines)
    alignment = aligner.from_vocals(vocals, text)
    assert alignment.status == "ok"
    assert [w.word for w in alignment.words] == text.split()
    assert alignment.words[0].start_s is None
    sung = alignment.words[1:]
    starts = np.array([w.start_s for w in sung])
    assert np.all(np.diff(starts) > 0)
    assert all(w.start_s < w.end_s <= alignment.duration_s and 0 <= w.confidence <= 1 for w in sung)
    error = np.array([line.start_s for line in alignment.lines[1:]]) - [start for start, _, _ in lines]
    assert np.sum(np.abs(error) < 0.3) >= 5  # of six
    assert np.median(np.abs(error)) < 0.1
    for word in sung:
        assert word.phones[0].start_s == word.start_s
        assert word.phones[-1].end_s == word.end_s
        assert all(a.end_s == b.start_s for a, b in itertools.pairwise(word.phones))


def test_times_of_another_recording_do_no_harm(rio):
    vocals, lines, aligner = rio
    plain = aligner.from_vocals(vocals, "\n".join(line for _, _, line in lines))
    clock = [f"[{int(start // 60):02d}:{start % 60:05.2f}]" for start, _, _ in lines]
    timed = aligner.from_vocals(vocals, "\n".join(t + line for t, (_, _, line) in zip(clock, lines)))
    late = aligner.from_vocals(vocals, "\n".join(f"[09{t[3:]}{line}" for t, (_, _, line) in zip(clock, lines)))
    assert [a.settings["times_of_lines"] for a in (plain, timed, late)] == ["none", "used", "none"]
    assert late.words == plain.words
    for seconds, used in ((-1, "used"), (1, "used"), (3, "none")):
        moved = [f"[00:{start + seconds:05.2f}]{line}" for start, _, line in lines]
        found = aligner.from_vocals(vocals, "\n".join(moved))
        assert found.settings["times_of_lines"] == used
        error = np.array([line.start_s for line in found.lines]) - [line.start_s for line in plain.lines]
        assert np.abs(error).max() < 0.3
    error = np.array([line.start_s for line in timed.lines]) - [start for start, _, _ in lines]
    assert np.abs(error).max() < 0.3


def test_of_lines_that_stand_twice_the_one_is_sung_that_fits(rio):
    vocals, lines, aligner = rio
    russian = " ".join(["\u043d\u043e\u0447\u044c", "\u0442\u0438\u0445\u043e", "\u0438\u0434\u0451\u0442"])
    plain = aligner.from_vocals(vocals, "\n".join(line for _, _, line in lines))
    known = [(word.word, word.start_s) for word in plain.words]
    for texts, message in (
        ([f"{line}\n{russian}" for _, _, line in lines], "2 times, line by line: line 1 of each 2"),
        ([f"{russian}\n{line}\n{russian}" for _, _, line in lines], "3 times, line by line: line 2 of each 3"),
        # In one script, as lines of one time.
        ([f"[00:{a:05.2f}]la noche cae\n[00:{a:05.2f}]{line}" for a, _, line in lines], "line 2 of each 2"),
    ):
        found = aligner.from_vocals(vocals, "\n".join(texts))
        assert message in found.message
        sung = [(word.word, word.start_s) for word in found.words if word.start_s is not None]
        assert [word for word, _ in sung] == [word for word, _ in known]
        assert max(abs(a - b) for (_, a), (_, b) in zip(sung, known)) < 0.3
        assert len(found.words) == len(parse_lyrics("\n".join(texts)).tokens)


def test_what_is_left_in_bands_that_a_recording_lacks_counts_for_nothing(rio):
    """Files at 8 kHz hold nothing above 4 kHz; what a codec or resampler leaves there is no sound of a phone."""
    vocals, lines, aligner = rio
    low = resample(resample(np.stack([vocals.signal, vocals.mixture]), 16_000, 8_000), 8_000, 16_000)
    low = np.pad(low, ((0, 0), (0, max(len(vocals.signal) - low.shape[1], 0))))[:, : len(vocals.signal)]
    left = np.random.default_rng(0).normal(0, 1e-6, low.shape[1]) * (1 + np.sin(np.arange(low.shape[1]) / 3_000))
    narrow, hissing = (replace(vocals, signal=y[0], mixture=y[1]) for y in (low, low + left))
    plain, noisy, whole = (observe(heard).streams for heard in (narrow, hissing, vocals))
    assert np.abs(plain - noisy).mean() < 0.02 * np.abs(plain - whole).mean()
    alignment = aligner.from_vocals(narrow, "\n".join(line for _, _, line in lines))
    error = np.array([line.start_s for line in alignment.lines]) - [start for start, _, _ in lines]
    assert np.sum(np.abs(error) < 0.3) >= 5  # of six, as of all of the sound


def test_half_of_what_is_heard_is_the_mixture(rio):
    """Logarithms are averaged, so streams are; vocals that came alone count whole."""
    vocals, _, _ = rio
    mixed, alone, all_of_it = (
        observe(heard).streams
        for heard in (vocals, replace(vocals, mixture=None), replace(vocals, signal=vocals.mixture, mixture=None))
    )
    np.testing.assert_allclose(mixed, (alone + all_of_it) / 2, atol=2e-3)
    assert np.abs(mixed - alone).mean() > 0.1


def test_what_lies_in_files_gives_the_same_times(rio, monkeypatch):
    """Signals, cepstra and scores of long songs do; here of a short one, in parts of odd sizes."""
    vocals, lines, aligner = rio
    text = "\n".join(line for _, _, line in lines)
    expected = aligner.from_vocals(vocals, text)
    path = SAMPLES / "Río.flac"
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 100_000)
    monkeypatch.setattr(observations, "MEMORY_BYTES", 100_000)
    monkeypatch.setattr(observations, "STRETCH_BYTES", 300_000)
    monkeypatch.setattr(observations, "_BLOCK", 333)
    monkeypatch.setattr(cepstra, "_BLOCK", 1_500)
    in_files = aligner.separator.from_file(path)
    assert all(large_arrays._mapping_of(y) is not None for y in (in_files.signal, in_files.mixture))
    np.testing.assert_array_equal(in_files.signal, vocals.signal)
    heard = aligner.acoustics.hear(in_files)
    assert large_arrays._mapping_of(heard.streams) is not None
    scores = observations.FrameScores(aligner.acoustics.units, heard, np.arange(300), stride=2)
    assert scores.stretch < scores.n_frames / 2
    assert large_arrays._mapping_of(scores.emissions(0, 500).table) is not None
    assert aligner.from_vocals(in_files, text).words == expected.words


def test_memory_does_not_grow_with_the_song(rio, monkeypatch):
    """But for what is a few bytes a frame: a song ten times as long, of which 100 kB lie in memory."""
    vocals, _, aligner = rio
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 100_000)
    monkeypatch.setattr(cepstra, "_BLOCK", 1_000)
    monkeypatch.setattr(onsets, "_BLOCK", 1_000)
    monkeypatch.setattr(phone_network, "_CHUNK", 500)
    peaks = []
    for times in (1, 10):
        longer = Vocals(*(np.tile(x, times) for x in (vocals.signal, vocals.voiced)), vocals.duration_s * times)
        tracemalloc.start()
        aligner.acoustics.hear(longer)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Cepstra, and those whose mean is taken; streams alone would be 156 bytes, and bands twice 100.
    assert peaks[1] - peaks[0] < 200 * 9 * 100 * vocals.duration_s


def test_vocals_bring_what_they_were_separated_from(rio):
    separator = rio[2].separator
    y = 0.2 * np.sin(2 * np.pi * np.array([[220.0], [331.0]]) * np.arange(44_100) / 22_050)
    y = y.sum(axis=0)
    vocals = separator.from_audio(y, 22_050)
    assert vocals.signal.shape == vocals.mixture.shape
    expected = resample(y, 22_050, 16_000)  # from which the analysis filters what is constant
    np.testing.assert_allclose(vocals.mixture[400:-400], expected[400:-400], atol=0.015)
    assert separator.from_audio(y, 22_050, separated=True).mixture is None


def test_words_that_are_hardly_heard_are_found(rio):
    """A line whose voice is not heard for sure is looked for where there may be one."""
    vocals, lines, aligner = rio
    assert vocals.perhaps_voiced.sum() > vocals.voiced.sum()
    assert vocals.perhaps_voiced[vocals.voiced].all()
    voiced = vocals.voiced.copy()
    start_s, end_s, line = lines[3]
    voiced[int((start_s - 0.5) * 43) : int((end_s + 0.5) * 43)] = False
    text = "\n".join(text for _, _, text in lines)
    first = sum(len(text.split()) for _, _, text in lines[:3])
    deaf = replace(vocals, voiced=voiced, perhaps_voiced=None)
    once = aligner.from_vocals(deaf, text).words[first : first + len(line.split())]
    assert not any(w.start_s is not None and start_s <= w.start_s <= end_s - 0.5 for w in once)
    found = aligner.from_vocals(replace(deaf, perhaps_voiced=vocals.perhaps_voiced), text)
    assert abs(found.lines[3].start_s - start_s) < 0.15


def test_words_of_another_song_are_refused(rio):
    vocals, _, aligner = rio
    text = "hold me in the morning light\nstay with me\nsay you love me now\nlove is all I need from you"
    alignment = aligner.from_vocals(vocals, text)
    assert alignment.status == "no_fit"
    assert alignment.score < 0.5
    assert all(w.start_s is None for w in alignment.words)
    assert len(alignment.words) == len(text.split())


def test_own_words_gain_by_their_order_and_others_do_not(rio):
    vocals, lines, aligner = rio
    heard = aligner.acoustics.hear(vocals)
    own = "\n".join(text for _, _, text in lines)
    other = "hold me in the morning light\nstay with me\nsay you love me now\nlove is all I need from you"
    found = [aligner.acoustics.search(heard, parse_lyrics(text), build_graph, None) for text in (own, other)]
    gains = [search.gain / search.n_voiced for search in found]
    assert gains[0] > 0.2
    assert gains[1] < 0.1
    assert found[0].n_voiced == np.count_nonzero(heard.voiced)


def test_a_line_that_is_not_sung_has_no_times(rio):
    vocals, lines, aligner = rio
    text = [line for _, _, line in lines]
    text.insert(3, "purple elephants discovering bicycles underneath the kitchen table")
    alignment = aligner.from_vocals(vocals, "\n".join(text))
    assert alignment.status == "ok"
    assert sum(w.start_s is None for w in alignment.words if w.line == 3) >= 6
    error = np.array([alignment.lines[k].start_s for k in (0, 1, 2, 4, 5, 6)]) - [start for start, _, _ in lines]
    assert np.median(np.abs(error)) < 0.1


def test_words_that_are_growled_are_found():
    """A voice without a pitch, alone: no frame has an F0."""
    pytest.importorskip("pyworld")
    bank, rng, rate = VoiceBank.default(), np.random.default_rng(0), 44_100
    lines = list(bank.lines("m1"))[:3]
    y, truth, end = np.zeros(20 * rate, np.float32), [], 0.5
    for line in lines:
        sung = speak(bank, "m1", line, end, VoiceStyle.draw(rng).growled(rng), rng, shout=True)
        assert not np.any(sung.f0_hz)
        first = round(sung.start_s * rate)
        y[first : first + len(sung.audio)] += sung.audio
        truth += [start for _, start, _ in sung.words]
        end = sung.end_s + 0.6
    alignment = Aligner().from_audio(y[: round(end * rate)], rate, "\n".join(x.text for x in lines), separated=True)
    assert alignment.status == "ok"
    found = [word.start_s for word in alignment.words]
    assert None not in found
    np.testing.assert_allclose(found, truth, atol=0.15)


def test_voices_without_a_pitch_are_sung_where_they_are_sure():
    n = 700
    pitched, active, presence = np.zeros(n, bool), np.ones(n, bool), np.full(n, 0.1)
    pitched[100:150] = True
    presence[90:230] = 1.0  # goes on after a sung line, within reach of it up to frame 166
    presence[300:360] = 0.9
    presence[310] = 0.96  # sure once, likely all along
    presence[400:460] = 0.94  # never sure
    presence[500:540] = 1.0  # less than a second
    presence[600:660] = 1.0
    active[600:660] = False  # of something that nobody hears
    sung = sung_frames(pitched, active, presence)
    np.testing.assert_array_equal(np.flatnonzero(sung), [*range(100, 150), *range(167, 230), *range(300, 360)])
    assert not len(sung_frames(np.zeros(0, bool), np.zeros(0, bool), np.zeros(0)))


def test_the_order_of_one_repeated_word_says_nothing(rio):
    """A text of one word gains nothing by its order, and is not held to gain anything."""
    vocals, _, aligner = rio
    heard = aligner.acoustics.hear(vocals)
    found = aligner.acoustics.search(heard, parse_lyrics("La, la la\nla la!"), build_graph, None)
    assert found.changed == 0
    assert found.gain == pytest.approx(0, abs=1e-3)
    middle = replace(found, rate=acoustics.MIDDLE_RATE)
    assert aligner.acoustics.score(middle, acoustics.MIDDLE_FIT, 10) == pytest.approx(0.5, abs=1e-3)
    assert aligner.acoustics.score(replace(middle, changed=0.5), acoustics.MIDDLE_FIT, 10) < 0.45
