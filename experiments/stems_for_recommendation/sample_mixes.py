"""The sample catalogue extended by generated tracks: which of them does ``similar --stem bass`` find?

Three samples share a bass line, and with it their tempo and key. Around the two whose stems are shipped come mixes with
that very bass under the vocals, drums and other of generated songs (``bass-shared``), and mixes with all of the sample
but its bass, which a generated song lends (``bass-swapped``); see :mod:`.stem_mixes`. Whoever looks for the bass line
should find the former, whoever goes by the whole mixture the latter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.stems_for_recommendation.stem_mixes import Mix, mixes_around
from experiments.stems_for_recommendation.stem_songs import StemSong, key_place, read_song
from stemfeatures.similarity.index import SimilarityIndex

#: The samples with this bass line; by the name of their stems where these are shipped.
SAMPLES = {"rio": "Río.flac", "silver-night": "-silver night-.opus", "": "Technology Is Magic..m4a"}
#: Group of their mixes: they are no part of the study's own questions.
GROUP = -2
KINDS = ("bass-shared", "bass-swapped")


def read_sample(folder: Path) -> StemSong:
    """Stems of a sample, with the tempo, key and downbeats of the JSON beside their folder."""
    known = json.loads(folder.with_name(f"{folder.name}.json").read_text())
    fifths, minor = key_place(known["key"].replace(" ", ":"))
    downbeats = np.array([s for s, place in zip(known["beats_s"], known["beat_positions"]) if place == 1])
    return replace(read_song(folder), bpm=known["tempo_bpm"], fifths=fifths, minor=minor, downbeats_s=downbeats)


def plan(samples: Path, partners: Sequence[StemSong], *, draws: int, seconds: float, seed: int) -> list[Mix]:
    """``draws`` mixes of each kind around each sample whose stems are there."""
    mixes = []
    for i, name in enumerate(filter(None, SAMPLES)):
        song = read_sample(samples / "truth" / name)
        for draw in range(draws):
            rng = np.random.default_rng([seed, 3, i, draw])
            made = mixes_around(song, partners, group=GROUP, seconds=seconds, rng=rng)
            mixes += [replace(m, mix_id=f"{m.mix_id}.{draw}") for m in made if m.kind in KINDS]
    return mixes


def found(index: SimilarityIndex, mixes: Sequence[Mix]) -> pd.DataFrame:
    """For each sample with the bass line and ``--stem bass`` or ``mixture``: how many of the ``wanted`` tracks that
    share the line are among as many first ones, and at what rank the first other track comes."""
    line = {*SAMPLES.values(), *(m.mix_id for m in mixes if m.kind == "bass-shared")} & set(index.track_ids)
    rows = []
    for stem in ("bass", "mixture"):
        for sample in sorted(line & set(SAMPLES.values())):
            ranked = index.similar(sample, stems=[stem], k=len(index) - 1).track_ids
            shares = [track in line for track in ranked]
            wanted = len(line) - 1
            rows.append({"compared": stem, "track": sample, "tracks": len(index) - 1, "wanted": wanted,
                         "in_first_3": sum(shares[:3]), "in_first_wanted": sum(shares[:wanted]),
                         "first_other": shares.index(False) + 1})  # fmt: skip
    return pd.DataFrame(rows)
