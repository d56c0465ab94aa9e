"""The sample catalogue is what its README says: formats, statuses, licences, and truth that agrees with the audio."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.catalog import read_catalog
from stemfeatures.audio import load, open_audio, to_mono
from stemfeatures.constants import STEMS
from stemfeatures.datasets.opening import find_tracks
from stemfeatures.errors import DecodeError

ROOT = Path(__file__).parents[1] / "catalog_samples"
TRUTH = ROOT / "truth"
FULL = ("morning-light", "rio", "silver-night")

# path: codec, sample rate, channels, duration in seconds, status
FILES = {
    "Francium (excerpt 1).mp3": ("mp3", 44_100, 2, 26.25, "ok"),
    "ichbinsoftware/excerpt.ogg": ("vorbis", 48_000, 2, 22.5, "ok"),
    "sectoid/excerpt.ogg": ("vorbis", 44_100, 1, 25.0, "ok"),
    "sectoid/#4 War of Freedom (cut off).mp3": ("mp3", 44_100, 2, 30.0, "truncated"),
    "Río.flac": ("flac", 44_100, 2, 26.0, "ok"),
    "-silver night-.opus": ("opus", 48_000, 2, 26.0, "ok"),
    "Technology Is Magic..m4a": ("aac", 44_100, 2, 24.0, "ok"),
    "षड्ज (Sa).m4a": ("aac", 48_000, 2, 80 / 3, "ok"),
    "Vals, en mi menor.ogg": ("vorbis", 44_100, 2, 51 * 60 / 132, "ok"),
    "morning light.wav": ("pcm_s16", 22_050, 1, 30.0, "ok"),
    "Held Breath (息).mp3": ("mp3", 22_050, 1, 60 * 60 / 148, "ok"),
    "silence.flac": ("flac", 48_000, 2, 20.0, "ok"),
    "knock.wav": ("pcm_s16", 44_100, 2, 0.2, "ok"),
}
NOT_AUDIO = "not found.mp3"


def rows() -> list[dict[str, str]]:
    with (ROOT / "catalog.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def truth(name: str) -> dict:
    return json.loads((TRUTH / f"{name}.json").read_text(encoding="utf-8"))


def test_catalog_lists_every_audio_file_once() -> None:
    catalog = read_catalog(ROOT / "catalog.csv")
    catalog.without_duplicates()
    listed = [row["path"] for row in rows()]
    assert listed == list(catalog.frame["track_id"])
    assert set(listed) == {*FILES, NOT_AUDIO}
    suffixes = {".mp3", ".ogg", ".flac", ".opus", ".m4a", ".wav"}
    there = {p.relative_to(ROOT) for p in ROOT.rglob("*") if p.suffix in suffixes and TRUTH not in p.parents}
    assert {str(p.as_posix()) for p in there} == set(listed)
    assert len({Path(p).name for p in listed}) == len(listed) - 1, "two files share their basename"


@pytest.mark.parametrize("path", FILES)
def test_decodes_as_promised(path: str) -> None:
    codec, sample_rate, channels, duration, status = FILES[path]
    with open_audio(ROOT / path) as stream:
        peak = max(float(np.abs(block).max()) for block in stream)
    info = stream.info
    assert (info.codec, info.sample_rate, info.channels, stream.status) == (codec, sample_rate, channels, status)
    assert info.declared_duration_s == pytest.approx(duration, abs=0.05)
    if status == "ok":
        assert stream.decoded_duration_s == pytest.approx(duration, abs=0.05)
    else:
        assert 0.5 * duration < stream.decoded_duration_s < 0.9 * duration
    assert peak == 0 if path == "silence.flac" else 0.3 < peak < 1


def test_not_audio_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"not found\.mp3"):
        load(ROOT / NOT_AUDIO)


def test_metadata() -> None:
    for row in rows():
        assert row["licence"] in {"CC0-1.0", "MIT", "CC-BY-4.0"}, row
        assert row["title"], row
        assert row["artist"], row
        assert row["bpm"] == "" or 40 < float(row["bpm"]) < 200


def test_every_track_is_in_licenses_with_its_licence() -> None:
    lines = (ROOT / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    for row in rows():
        named = [line for line in lines if f"`{row['path']}`" in line and line.startswith("|")]
        assert len(named) == 1, row["path"]
        assert f"| {row['licence']} |" in named[0], row["path"]


def test_readme_lists_every_track() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [row["path"] for row in rows() if f"| `{row['path']}` |" not in readme] == []


def test_small() -> None:
    assert sum(p.stat().st_size for p in ROOT.rglob("*") if p.is_file()) < 30e6


def test_truth_is_found_by_evaluation() -> None:
    tracks = {track.name: track for track in find_tracks(TRUTH)}
    assert set(tracks) == {*FULL, "francium"}
    for name in FULL:
        assert tracks[name].tasks == {"separation", "f0", "beats"}
    assert tracks["francium"].tasks == {"separation", "beats"}


@pytest.mark.parametrize("name", FULL)
def test_stems_sum_to_the_mixture(name: str) -> None:
    mixture, sample_rate = load(TRUTH / name / "mixture.flac")
    stems = [load(TRUTH / name / f"{stem}.flac")[0] for stem in STEMS]
    assert sample_rate == 22_050
    assert all(np.abs(stem).max() > 0.05 for stem in stems)
    np.testing.assert_array_equal(sum(stems), mixture)


@pytest.mark.parametrize("name", [*FULL, "francium"])
def test_truth_is_that_of_the_track(name: str) -> None:
    mixture, sample_rate = load(TRUTH / name / "mixture.flac", mono=True)
    track, _ = load(ROOT / truth(name)["path"], sample_rate=sample_rate, mono=True)
    n = min(len(track), len(mixture))
    assert abs(len(track) - len(mixture)) <= 2
    assert np.corrcoef(track[:n], mixture[:n])[0, 1] > 0.97


@pytest.mark.parametrize("name", FULL)
def test_f0_truth_lies_on_the_harmonics_of_the_vocals(name: str) -> None:
    vocals, sample_rate = load(TRUTH / name / "vocals.flac", mono=True)
    f0 = truth(name)["vocals_f0"]
    times, hertz = np.loadtxt(TRUTH / name / "vocals_f0.csv", delimiter=",").T
    np.testing.assert_allclose(times, f0["hop_s"] * np.arange(len(times)), atol=1e-9)
    np.testing.assert_array_equal(hertz, f0["f0_hz"])
    assert 0.4 < np.mean(hertz > 0) < 0.95

    window = np.hanning(2048)
    t = np.arange(2048) / sample_rate
    loudest = float(np.abs(vocals).max())
    power = []
    for time, f in zip(times[::5], hertz[::5]):
        start = round(time * sample_rate) - 1024
        frame = vocals[max(start, 0) : start + 2048]
        if f > 0 and len(frame) == 2048 and np.abs(frame).max() > 0.1 * loudest:
            # the sum of four harmonics half a semitone below, at, and half a semitone above F0
            harmonics = np.outer([2 ** (-0.5 / 12), 1, 2 ** (0.5 / 12)], [1, 2, 3, 4]).ravel()
            # odd harmonics, and what would be harmonics if F0 were an octave lower
            odd = [1, 3, 0.5, 1.5]
            spectrum = np.abs(np.exp(-2j * np.pi * np.outer([*harmonics, *odd], f * t)) @ (frame * window)) ** 2
            power.append([*spectrum[:12].reshape(3, 4).sum(axis=1), *spectrum[12:].reshape(2, 2).sum(axis=1)])
    below, at, above, first, between = np.array(power).T
    assert len(power) > 200
    assert np.mean((at > below) & (at > above)) > 0.85
    assert np.mean(first > 10 * between) > 0.9


@pytest.mark.parametrize("path", sorted(TRUTH.glob("*.json")), ids=lambda p: p.stem)
def test_beats_and_notes_keep_the_tempo(path: Path) -> None:
    known = truth(path.stem)
    beats, positions = np.array(known["beats_s"]), np.array(known["beat_positions"])
    np.testing.assert_allclose(np.diff(beats), 60 / known["tempo_bpm"], atol=2e-4)
    assert beats[-1] < known["duration_s"]
    assert positions[0] == 1
    assert set(positions) == set(range(1, positions.max() + 1))
    row = next(row for row in rows() if row["path"] == known["path"])
    assert float(row["bpm"]) == known["tempo_bpm"]
    assert row["key"] == (known["key"] or "")
    for start, end, midi in known["bass_notes"] or []:
        assert 0 <= start < end < known["duration_s"] + 1
        assert 28 <= midi <= 60
    if (folder := path.with_suffix("")).is_dir():
        table = np.loadtxt(folder / "beats.tsv")
        np.testing.assert_allclose(table, np.column_stack([beats, positions]))


def test_onsets_of_the_drums_lie_on_the_beats() -> None:
    for name in ("rio", "silver-night", "francium"):
        drums, sample_rate = load(TRUTH / name / "drums.flac", mono=True)
        hop = 220
        power = np.array([np.mean(drums[k : k + hop] ** 2) for k in range(0, len(drums) - hop, hop)])
        rise = np.maximum(np.diff(np.log(power + 1e-6), prepend=np.log(1e-6)), 0)
        times = np.arange(len(rise)) * hop / sample_rate
        beat = 60 / truth(name)["tempo_bpm"]
        phase = (times / beat) % 1
        near = (phase < 0.06) | (phase > 0.94)
        assert rise[near].mean() > 2 * rise[~near].mean(), name


def test_three_tracks_share_their_bass_line() -> None:
    lines = [
        [midi for *_, midi in truth(name)["bass_notes"]] for name in ("rio", "silver-night", "technology-is-magic")
    ]
    assert lines[0] == lines[1] == lines[2]
    assert len(lines[0]) == 72
    other = [midi for *_, midi in truth("vals")["bass_notes"]]
    assert other != lines[0][: len(other)]


def test_stereo_is_stereo() -> None:
    for path in ("Río.flac", "-silver night-.opus", "Vals, en mi menor.ogg"):
        y, _ = load(ROOT / path)
        middle, side = to_mono(y), (y[0] - y[1]) / 2
        assert 0.02 < np.mean(side**2) / np.mean(middle**2) < 0.5, path
