"""Sections of bars that are known, and of a short song."""

from __future__ import annotations

import time

import numpy as np
import pytest
from frames_helper import SR, n_frames_of, pulses, track_frames

from stemfeatures.descriptors import describe, sections
from stemfeatures.descriptors.chords import ChordInputs
from stemfeatures.descriptors.sections import BarFeatures, bar_edges, find_sections, name_sections

#: Triads of four bars, by part.
PARTS = {"a": (0, 9, 5, 7), "b": (2, 7, 4, 9), "c": (5, 10, 3, 8)}


def _bars(form, *, lengths=None, noise=0.05, transposed=None, seed=0):
    """Bars of a form such as ``"abab"``, 8 bars a section: chords that go round, with the levels of two stems."""
    rng = np.random.default_rng(seed)
    lengths = lengths or [8] * len(form)
    rows = []
    for k, (part, n) in enumerate(zip(form, lengths)):
        up = 0 if transposed is None else transposed[k]
        for bar in range(n):
            harmony = np.zeros(12)
            root = PARTS[part][bar % 4] + up
            harmony[[root % 12, (root + 4) % 12, (root + 7) % 12]] = 1
            bass = np.eye(12)[root % 12]
            rows.append((harmony, bass, {"a": (0.4, 0.9), "b": (0.9, 0.6), "c": (0.1, 0.2)}[part]))
    harmony, bass, sound = (
        np.array(x, float) + noise * rng.standard_normal((len(rows), len(x[0]))) for x in zip(*rows)
    )
    unit = harmony / np.linalg.norm(harmony, axis=1, keepdims=True)
    return BarFeatures(2.0 * np.arange(len(rows) + 1), unit, 0.5 * bass, 1.6 * sound, np.zeros(len(rows)))


@pytest.mark.parametrize("form", ["ab", "abab", "abcab", "aabb", "abac"])
@pytest.mark.parametrize("seed", range(3))
def test_boundaries_and_parts_of_a_form(form, seed):
    found = find_sections(_bars(form, seed=seed))
    # The same part twice in a row may be one section or two.
    cuts = [16.0 * k for k in range(1, len(form)) if form[k] != form[k - 1]]
    assert set(cuts) <= set(found.start_s[1:])
    assert set(found.start_s) <= set(16.0 * np.arange(len(form)))
    first = list(dict.fromkeys(form))
    wanted = [chr(65 + first.index(form[int(start // 16)])) for start in found.start_s]
    assert found.label == wanted
    np.testing.assert_array_equal(found.start_s[1:], found.end_s[:-1])
    assert found.length_bars.sum() == 8 * len(form)
    assert found.novelty[0] == 0
    assert (found.novelty[1:] > 0.3).all()


def test_windows_of_long_tracks_leave_no_seams(monkeypatch):
    form = "abcabacb" * 5
    bars = _bars(form)
    whole = find_sections(bars)
    monkeypatch.setattr(sections, "WINDOW_BARS", 120)  # no multiple of a section
    found = find_sections(bars)
    np.testing.assert_array_equal(found.start_s, 16.0 * np.arange(len(form)))
    assert found.label == whole.label == [{"a": "A", "b": "B", "c": "C"}[part] for part in form]
    assert (found.novelty[1:] > 0.3).all()


def _distance_by_definition(one, other):
    n = min(len(one[0]), len(other[0]))
    best = np.inf
    for up in range(12):
        rolled = [np.roll(x[:n], up, axis=1) for x in other[:2]]
        apart = sum(np.square(a[:n] - b).sum() for a, b in zip(one[:2], rolled))
        best = min(best, apart + np.square(one[2][:n] - other[2][:n]).sum() + (n * sections.TRANSPOSED if up else 0))
    return best / n


@pytest.mark.parametrize("seed", range(4))
def test_sections_are_compared_bar_by_bar_in_the_best_key(seed):
    """With those before it, and each section joins the part to which it is nearest on average."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 60)
    edges = np.stack([np.cumsum(lengths) - lengths, np.cumsum(lengths)], axis=1)
    patterns = [rng.uniform(0, 0.6, (3, 12, 12)) for _ in range(4)]
    bars = [np.empty((edges[-1, 1], d)) for d in (12, 12, 5)]
    for start, stop in edges:
        pattern, up = patterns[rng.integers(4)], rng.integers(12) * (rng.random() < 0.3)
        for x, y in zip(bars, pattern):
            x[start:stop] = np.roll(y[: stop - start], up if x.shape[1] == 12 else 0, axis=1)[:, : x.shape[1]]
            x[start:stop] += 0.08 * rng.standard_normal(x[start:stop].shape)
    parts = sections._Parts(*bars, edges)
    cut = [tuple(x[start:stop] for x in bars) for start, stop in edges]
    labels: list[int] = []
    for k in range(len(edges)):
        want = [_distance_by_definition(cut[k], earlier) for earlier in cut[:k]]
        if k:
            np.testing.assert_allclose(parts.distances(k), want, rtol=1e-9)
        means = [np.mean([d for d, label in zip(want, labels) if label == j]) for j in sorted(set(labels))]
        near = int(np.argmin(means)) if k else -1
        labels.append(near if k and means[near] < sections.SAME else len(means))
    assert sections._group(parts) == labels
    assert 2 < len(set(labels)) < 30


def test_hours_are_grouped_in_seconds():
    """Three hours: 900 sections of 6 bars, 400,000 pairs; one by one they take 13 s."""
    rng, n = np.random.default_rng(0), 5_400
    bars = [rng.uniform(0, 0.5, (n, d)) for d in (12, 12, 12)]
    edges = np.stack([np.arange(0, n, 6), np.arange(6, n + 1, 6)], axis=1)
    for part in range(4, 900):  # four parts come again and again
        for x in bars:
            x[6 * part : 6 * part + 6] = x[6 * (part % 4) : 6 * (part % 4) + 6]
    started = time.process_time()
    labels = sections._group(sections._Parts(*bars, edges))
    assert time.process_time() - started < 5
    assert labels == [min(labels[part % 4], 3) for part in range(900)]


def test_a_part_is_the_same_in_another_key():
    found = find_sections(_bars("abab", transposed=(0, 0, 2, 2)))
    assert found.label == ["A", "B", "A", "B"]


def test_what_cannot_be_divided():
    assert find_sections(_bars("a", lengths=[7])) is None
    even = _bars("a", lengths=[16], noise=0.0)
    even.harmony[:] = even.harmony[0]
    even.bass[:] = even.bass[0]
    assert find_sections(even) is None


def test_names_are_what_the_voice_tells():
    assert name_sections(np.array([0.0, 0.8, 0.05, 0.2, 0.6, 0.1])) == [
        "intro",
        None,
        "instrumental",
        None,
        None,
        "outro",
    ]
    assert name_sections(np.array([0.0, 0.1, 0.05])) == [None] * 3
    assert name_sections(np.array([0.5, 0.9])) == [None] * 2


def test_bars_begin_on_downbeats_and_go_on_without():
    times = np.arange(0, 15.01, 0.25)
    kinds = np.where(np.arange(60) % 2, 2, 1)
    kinds[[6, 14, 30, 38, 46]] = 0  # a downbeat every 2 s from 1.5 s on, but none at 5.5 s and in the end

    def steps(times, kinds):
        return ChordInputs(times, kinds, np.zeros((12, len(kinds))), np.zeros((12, len(kinds))), 0.0)

    np.testing.assert_allclose(bar_edges(steps(times, kinds)), np.r_[0, 1.5:14:2, 15], atol=1e-9)
    times, beats = times[:41], np.where(np.arange(40) % 2, 2, 1)
    np.testing.assert_allclose(bar_edges(steps(times, beats)), np.arange(0, 10.01, 2.0), atol=1e-9)
    np.testing.assert_allclose(bar_edges(steps(times, np.ones(40, int))), np.arange(0, 10.01, 2.0), atol=1e-9)


def _chord(root, seconds, partials):
    t = np.arange(round(seconds * SR)) / SR
    hz = 261.6 * 2 ** ((root + np.array([0, 4, 7])) / 12)
    return 0.05 * sum(np.sin(2 * np.pi * f * h * t) / h for f in hz for h in range(1, partials + 1))


def test_a_song_and_where_there_is_none():
    bars = [(root, 3) for root in PARTS["a"]] + [(root, 8) for root in PARTS["b"]]
    y = np.concatenate([_chord(root, 1.0, partials) for root, partials in bars * 2])
    n = n_frames_of(len(y))
    beats = np.arange(0, 16, 0.25)
    song = describe(track_frames({"other": y}, beat=pulses(beats, n), downbeat=pulses(beats[::4], n)))
    table, values = song.tables["sections"], song.stems["mixture"]
    np.testing.assert_allclose(table["start_s"], [0, 4, 8, 12], atol=0.1)
    assert list(table["label"]) == ["A", "B", "A", "B"]
    assert list(table["name"]) == [None] * 4
    assert (values["sections_status"], values["section_count"], values["section_distinct_count"]) == ("ok", 4, 2)
    assert values["section_duration_median_s"] == pytest.approx(4, abs=0.1)
    assert values["section_repetition_ratio"] == pytest.approx(0.5, abs=0.02)
    silent = describe(track_frames({"other": np.zeros(2 * SR)}))
    assert silent.stems["mixture"]["sections_status"] == "silent"
    assert list(silent.tables["sections"]["label"]) == []
    short = describe(track_frames({"other": y[: 2 * SR]})).stems
    assert (short["mixture"]["sections_status"], short["mixture"]["section_count"]) == ("no_sections", None)
    assert short["other"]["sections_status"] == "not_applicable"


def test_letters_of_very_many_parts():
    assert [sections._letter(k) for k in (0, 25, 26, 701, 702, 18_277)] == ["A", "Z", "AA", "ZZ", "AAA", "ZZZ"]
