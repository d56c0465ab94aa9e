"""Examples in docstrings run in a folder of their own that holds what they speak of.

``song.wav`` (two seconds of tones), ``catalog.csv`` that names it, ``features`` (a small features directory of random
values, see ``tests/features_helper.py``) and ``listening.parquet`` (who listened to which of its tracks).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "tests"))


@pytest.fixture(scope="session")
def _examples_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pandas as pd
    from features_helper import write_features

    from stemfeatures import audio

    folder = tmp_path_factory.mktemp("examples")
    t = np.arange(2 * 44_100) / 44_100
    tones = 0.2 * np.sin(2 * np.pi * np.array([[220.0], [330.0]]) * t)
    audio.write(folder / "song.wav", tones.astype(np.float32), 44_100)
    (folder / "catalog.csv").write_text("path\nsong.wav\n", encoding="utf-8")
    tracks = [f"track{i:02d}" for i in range(24)]
    write_features(folder / "features", tracks)
    rng = np.random.default_rng(0)
    users = np.repeat([f"user{i}" for i in range(12)], 8)
    listening = pd.DataFrame({"user_id": users, "track_id": rng.choice(tracks, len(users))}).drop_duplicates()
    listening["time"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(len(listening)), "h")
    listening.to_parquet(folder / "listening.parquet")
    return folder


@pytest.fixture(autouse=True)
def _examples_have_their_files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        shutil.copytree(request.getfixturevalue("_examples_folder"), tmp_path / "examples")
        monkeypatch.chdir(tmp_path / "examples")
