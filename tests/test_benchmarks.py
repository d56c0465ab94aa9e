"""Every script in benchmarks/ runs, with sizes so small that its figures mean nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stemfeatures import audio
from stemfeatures.generator.play.soundfonts import find_soundfonts

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
#: Arguments by script, and what must be in its output.
TINY = {
    "agreement": ("--songs 1 --seconds 8", r"spectral_centroid +librosa +\d+ +(1\.0|0\.999)"),
    "alignment": (
        "--repeat 1 --rounds 1 --minutes 0.6 --copies 1",
        r"0\.9 minutes, 32 words, \w+: .* at the peak(?s:.*)ratio to pocketsphinx +\d",
    ),
    "bass_lines": ("--songs 2 --seconds 8", r"mixture +\d\.\d\d"),
    "coder_noise": ("{song} --seconds 1", r"ours, 512, margin 25 +\d"),
    "descriptors": ("--seconds 8 --repeat 1", r"descriptors and events +\d"),
    "disk_use": ("tests/data/features-1.0", r"3 tracks, 0\.4 minutes\n(?s:.*)\nstems +15 +3 +\d+\.\d +\d+\.\d"),
    "events": ("--songs 1 --seconds 8", r"chords, segmentation +\d\.\d+ +\d\.\d+ +1"),
    "extraction": (
        "{song} --repeat 1 --precision float32,bfloat16",
        r"frames of five rows +\d(?s:.*)\nbfloat16\n(?s:.*)network +\d(?s:.*)ratio of bfloat16 to float32: \d",
    ),
    "extraction_memory": ("--minutes 0.05 --small-network --sung", r"0\.05 +\d+ +1\.00 .*\d"),
    "frame_measures": (
        "--seconds 1 --repeat 1",
        r"true peaks of five rows .*ratio +\d.*difference \d\.\de-0[6-9]|0\.0e",
    ),
    "faults": ("--tracks 6 --jobs 1 --faults kill_driver", r"in all: 0 lost, 0 doubled, .* 0 misreported"),
    "generation": ("--songs 1 --seconds 8", r"\d"),
    "inharmonicity": ("--songs 1 --seconds 8 --softer 40", r"bass +-20\.\.6 dB \(\d+\)"),
    "jobs": (
        "--jobs 2 --tracks 2 --seconds 0.6 --rounds 1 --ways at-once foreign",
        r"-j 1 .*system +\d.*\n.* 2 runs of -j 1 at once .*\n.*as Dask starts them .*CPU +\d.*of -j 1",
    ),
    "known_ids": (
        "--rows 2000 --portion 1200 --portions 2",
        r"remembered +\d\.\d+  \d\.\d+  \d\.\d+\nread each time +\d",
    ),
    "keys": (
        "--songs 1 --seconds 8 --modes mixolydian",
        r"sure +unsure\nmixolydian +1( +[01]){3}( +(0\.\d\d|-)){2}\nall +1 ",
    ),
    "kept_ranks": ("--songs 1 --seconds 8", r"dissonance +drums +- \([01]\)"),
    "lanes": (
        "--minutes 0.05 --tracks 2 --processes 1 --gpus 1 --cores 4 --speed 500",
        r"1 processes, .*measured \d+\.\d x, modelled \d+\.\d x, ratio \d(?s:.*)\n +1 +4 +500 +4 +\d+ +0\.\d\d",
    ),
    "lyrics_bounds": (
        "{generated}",
        r"separated vocals +1 songs +28 words +0\.\d{3} within 0\.1 s +0\.\d{3} within 0\.3 s\nwithout"
        r"(?s:.*)true vocals +1 songs +28 words +0\.[1-4]\d\d within 0\.1 s +0\.[2-5]",
    ),
    "lyrics_confidence": (
        "{generated} --learn",
        r"2\d words: mean squared error 0\.\d{4}, of a constant 0\.\d{4}\n(?s:.*) words of 0\.\d\d: [01]\.\d\d found\n"
        r"slope, offset: -?\d\.\d\d -?\d+\.\d\d",
    ),
    "low_end": (
        "{songs}",
        r"1 songs, below 150 Hz(?s:.*)\n  bass +1\.00 +1\.00 +1\.00\n  drums +0(?s:.*)\n  bass of both +1\.00"
        r"(?s:.*)\n  other of all +0\.00",
    ),
    "onsets": ("--lines 1 --seconds 4 --instruments piano --ways detached", r"piano +all +(0\.9\d|1\.0)"),
    "peers": ("--seconds 2 --repeat 1", r"all tables +\d+\.\d\d(?s:.*)voice and bass +\d(?s:.*)the chain +\d\.\d\d"),
    "perfect_stems": (
        "{songs}",
        r"raw_pitch_accuracy +separated +\d\.\d+, true stems +\d(?s:.*)beat_f_measure +separated",
    ),
    "planning": ("--rows 300 --parts 2 --csv --whole", r"300 +portions +\d+\.\d s(?s:.*)300 +whole +\d+\.\d s"),
    "polyphony": (
        "--songs 1 --seconds 8",
        r"stemfeatures +separated +1( +[01]\.\d{3}){3}(?s:.*)network alone +true stem +1( +[01]\.\d{3}){3}",
    ),
    "presence": (
        "--songs 2 --seconds 8 --lineups instrumental without_drums",
        r"instrumental, .*\nwithout_drums, (?s:.*)drums +[0-2] of [12] +[01] of [01]\n(?s:.*) wrong in [0-2] of 2",
    ),
    "precision": (
        "{song} --songs {songs}",
        r"1 files(?s:.*)timbre, numbers +\d+ +0\.\d+ +0\.\d+ (?s:.*)drums +\d\d\.\d \((?s:.*)vocals +-?\d+\.\d+ +-?\d",
    ),
    "recommendation": ("--users 50 --tracks 40 --per-user 5 --features 8 --factors 4 --sweeps 1", r"als.* \d"),
    "refusals": (
        "{sung} --learn",
        r"own words (0\.9|1\.0)(?s:.*)refused: 1 of 2 .* words, 1 with those of another\n"
        r"refused: [0-2] of 2 with some of their own lines, [12] with some of another's\n"
        r"fit, rate, gain, one:( -?\d+\.\d\d){4}",
    ),
    "rehearsal": (
        "--rows 40 --portion 10 --seconds 0.6",
        r" 40 +\d+\.\d\d (?s:.*)plan all rows again: \d(?s:.*)compact: \d.*peak \d(?s:.*)100,000,000 rows: plan",
    ),
    "report": (
        "tests/data/features-1.0 --tracks 40",
        r"40 tracks\n(?s:.*)page +0\.\d+ MB\n(?s:(.*pointer to label +\d|not opened))",
    ),
    "revisions": ("{root} --seconds 1 --repeat 1", r"network +there +\d.*here +\d.*ratio +\d"),
    "separation_memory": ("--minutes 0.05", r"0\.05? .*\d"),
    "similarity": ("--rows 400 --queries 5 --ann-rows 200", r"queries"),
    "soak": ("--tracks 5 --jobs 1 --looks 3", r"tracks +time(?s:.*)5 of 5 tracks are committed"),
    "stem_uncertainty": ("--songs 2 --seconds 8", r"generated +\d+ stems +all -?\d\.\d\d"),
    "strokes": ("--songs 2 --seconds 8", r"separated F +P +R +true F +P +R\nkick +[1-9]\d*( +\d\.\d{3}){6}\nsnare"),
    "target_training": ("--rounds 1 --objectives supervised,factorgan", r"factorgan +\d+ +\d+ +\d"),
    "voice": ("{clips} --softer 40", r"dB \(1\)(?s:.*)formant_01_median_hz +-"),
    "voices": (
        "--songs 2 --seconds 8 --mir1k {singers} --pairs 1",
        r"generated +2 +\d+ +0\.\d{3} +0\.\d{3}(?s:.*)mir1k sums +1 +345 +0\.\d{3}( +([01]\.\d{3}|nan)){4} +\d of \d"
        r"( +[01]\.\d{3}){2}\nmir1k +1 +345 +0\.000 ",
    ),
    "weighing": (
        "--songs 3 --mixes 6 --seconds 8 --listeners 2",
        r"regression, drums +-?\d.* dB(?s:.*)retrieval, bass( +[01]\.\d{3}){2}(?s:.*)listeners, other +[01]\.\d",
    ),
    "tempo": ("--songs 1 --seconds 10", r"below 70 bpm, with drums +2( +[0-2]){5} +\d\.\d\d"),
}
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


def _write_song(folder: Path) -> None:
    """A voice and clicks, with their truth, long enough for beats after the fifth second."""
    folder.mkdir(parents=True)
    times = np.arange(8 * 22_050) / 22_050
    voice = 0.1 * np.sin(2 * np.pi * 440 * times)
    clicks = 0.1 * np.random.default_rng(0).normal(size=len(times)) * np.exp(-60 * (times % 0.5))
    bass = 0.1 * np.sin(2 * np.pi * 55 * times)
    stems = {"vocals": voice, "drums": clicks, "bass": bass}
    for name, y in {"mixture": voice + clicks + bass, **stems}.items():
        audio.write(folder / f"{name}.wav", y.astype(np.float32), 22_050)
    (folder / "vocals_f0.csv").write_text("".join(f"{t:.2f},440\n" for t in np.arange(0, 8, 0.05)))
    (folder / "beats.tsv").write_text("".join(f"{0.5 * i:.1f}\t{i % 4 + 1}\n" for i in range(16)))


def _write_sung(folder: Path, text: str | None = None) -> None:
    """Río as an UltraStar song, the words of a line spread over it; of a text, each line has the same ones."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "catalog_samples" / "Río.flac", folder / "song.flac")
    lines = json.loads((ROOT / "catalog_samples" / "truth" / "rio.json").read_text("utf-8"))["lyrics"]
    rows = ["#TITLE:Río", "#ARTIST:us", "#MP3:song.flac", "#BPM:1500", "#GAP:0"]  # beats of 10 ms
    for start, end, line in lines:
        words = (text or line).split()
        length = round(100 * (end - start) / len(words))
        rows += [f": {round(100 * start) + k * length} {length - 1} 0  {word}" for k, word in enumerate(words)]
        rows.append(f"- {round(100 * end)}")
    (folder / "song.txt").write_text("\n".join([*rows, "E"]), "utf-8")


def _write_generated(folder: Path) -> None:
    """Morning light as a generated song, the words of a line spread over it."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "catalog_samples" / "morning light.wav", folder / "mixture.wav")
    truth = ROOT / "catalog_samples" / "truth"
    shutil.copy(truth / "morning-light" / "vocals.flac", folder / "vocals.flac")
    words, lines = [], json.loads((truth / "morning-light.json").read_text("utf-8"))["lyrics"]
    for start, end, line in lines:
        length = (end - start) / len(line.split())
        words += [{"word": w, "start_s": start + k * length} for k, w in enumerate(line.split())]
    words = [word | {"end_s": word["start_s"] + 0.1} for word in words]
    rows = [{"start_s": start, "end_s": end, "text": line} for start, end, line in lines]
    (folder / "truth.json").write_text(json.dumps({"lyrics": {"words": words, "lines": rows}}), "utf-8")


def _write_clip(folder: Path, singer: str = "one", pitch: int = 57) -> None:
    """Clicks and a voice on a channel each, as MIR-1K has them."""
    folder.mkdir(exist_ok=True)
    times = np.arange(8 * 16_000) / 16_000
    vibrato = 0.3 * np.sin(2 * np.pi * 5 * times)
    hz = 440 * 2 ** ((pitch - 69) / 12)
    formants = ((650, 90, 1.0), (1080, 110, 0.6), (2650, 150, 0.25))  # of an a, or it is no voice to the network
    heights = [sum(height / (1 + ((k * hz - at) / width) ** 2) for at, width, height in formants) for k in range(30)]
    voice = 0.1 * sum(heights[k] * np.sin(k * (2 * np.pi * hz * times + vibrato)) for k in range(1, 20))
    clicks = 0.1 * np.random.default_rng(0).normal(size=len(times)) * np.exp(-60 * (times % 0.5))
    audio.write(folder / f"{singer}_1_01.wav", np.stack([clicks, voice]).astype(np.float32), 16_000)
    (folder / f"{singer}_1_01.pv").write_text(f"{pitch}\n" * 399)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(name: str, tmp_path: Path) -> None:
    arguments, wanted = TINY[name]
    if name == "onsets" and (shutil.which("fluidsynth") is None or not find_soundfonts()):
        pytest.skip("needs fluidsynth and a SoundFont")
    if "{songs}" in arguments:
        _write_song(tmp_path / "songs" / "one")
    if "{song}" in arguments:
        y = np.random.default_rng(0).normal(scale=0.1, size=(2, 2 * 22_050)).astype(np.float32)
        audio.write(tmp_path / "song.wav", y, 22_050)
    if "{generated}" in arguments:
        _write_generated(tmp_path / "generated" / "one")
    if "{sung}" in arguments:
        _write_sung(tmp_path / "sung" / "one")
        _write_sung(tmp_path / "sung" / "two", "purple elephants discovering bicycles")
    if "{clips}" in arguments:
        _write_clip(tmp_path / "clips")
    if "{singers}" in arguments:
        for singer, pitch in (("one", 57), ("two", 64)):
            _write_clip(tmp_path / "singers", singer, pitch)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    places = {name: tmp_path / name for name in ("songs", "generated", "sung", "clips", "singers")}
    places |= {"song": tmp_path / "song.wav", "root": ROOT}
    arguments = arguments.format(**places)
    command = [sys.executable, str(FOLDER / f"{name}.py"), *shlex.split(arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert re.search(wanted, done.stdout), done.stdout


def test_a_file_that_is_no_soundfont_is_told_in_a_line(tmp_path: Path) -> None:
    font = tmp_path / "notes.sf2"
    font.write_bytes(b"RIFF no SoundFont")
    command = [sys.executable, str(FOLDER / "onsets.py"), "--font", str(font), "--lines", "1", "--seconds", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"error: {font}: " in done.stderr
    assert "fluidsynth" in done.stderr


def test_names_of_sections_are_scored_by_time() -> None:
    """A song of an intro, a verse and an outro: a name on a third of the verse, and on half of what is not sung."""
    spec = importlib.util.spec_from_file_location("events", FOLDER / "events.py")
    assert spec is not None
    assert spec.loader is not None
    events = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(events)
    sections = [{"start_s": a, "end_s": b} for a, b in ((0.0, 10.0), (10.0, 40.0), (40.0, 50.0))]
    truth = SimpleNamespace(sections=sections, notes={"vocals": [{"start_s": 11.0, "end_s": 30.0}]})
    found = {"start_s": [0.0, 10.0, 20.0], "end_s": [10.0, 20.0, 50.0], "name": ["intro", "instrumental", None]}
    scores = events.name_scores(truth, found)
    assert scores == {"sung, no name": pytest.approx(2 / 3), "without a voice, named": pytest.approx(1 / 2)}
    silent = SimpleNamespace(sections=sections, notes={"vocals": []})
    assert events.name_scores(silent, found) == {}
