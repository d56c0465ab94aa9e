"""Every script in benchmarks/ runs, with sizes so small that its figures mean nothing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stemfeatures import audio

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
#: Arguments by script, and what must be in its output.
TINY = {
    "alignment": ("--repeat 1 --rounds 1", r"ratio to pocketsphinx +\d"),
    "bass_lines": ("--songs 4 --seconds 8", r"mixture +\d\.\d\d"),
    "coder_noise": ("{song} --seconds 1", r"ours, 512, margin 25 +\d"),
    "extraction": ("{song} --repeat 1", r"frames of five rows +\d"),
    "frame_measures": (
        "--seconds 1 --repeat 1",
        r"true peaks of five rows .*ratio +\d.*difference \d\.\de-0[6-9]|0\.0e",
    ),
    "generation": ("--songs 1 --seconds 8", r"\d"),
    "jobs": ("--tracks 2 --seconds 0.6 --rounds 1", r"-j 2 .*system +\d.*\n.*as Dask starts them .*CPU +\d.*of -j 1"),
    "recommendation": ("--users 50 --tracks 40 --per-user 5 --features 8 --factors 4 --sweeps 1", r"als.* \d"),
    "separation_memory": ("--minutes 0.05", r"0\.05? .*\d"),
    "similarity": ("--rows 400 --queries 5 --ann-rows 200", r"queries"),
    "target_training": ("--rounds 1", r"factorgan.*\d"),
}
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs(name: str, tmp_path: Path) -> None:
    arguments, wanted = TINY[name]
    if "{song}" in arguments:
        y = np.random.default_rng(0).normal(scale=0.1, size=(2, 2 * 22_050)).astype(np.float32)
        audio.write(tmp_path / "song.wav", y, 22_050)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(FOLDER / f"{name}.py"), *shlex.split(arguments.format(song=tmp_path / "song.wav"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert re.search(wanted, done.stdout), done.stdout
