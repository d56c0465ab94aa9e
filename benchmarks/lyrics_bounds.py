"""What bounds the alignment of lyrics: separated vocals or true ones, with the mixture or alone, voicing of either.

    python benchmarks/lyrics_bounds.py SONGS... [--limit N]

``SONGS`` are folders of songs with a stem of vocals whose words have times, such as ``stemfeatures generate`` writes.
Each song is aligned five times; all words of all songs together are counted.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from stemfeatures.datasets.opening import find_tracks
from stemfeatures.evaluation.lyrics import TOLERANCES_S, reference_words, token_starts
from stemfeatures.lyrics import Aligner

#: Name, whether sound and voicing are those of the true vocals, and whether the mixture counts, too.
KINDS = {
    "separated vocals": (False, False, True),
    "without the mixture": (False, False, False),
    "their sound, true voicing": (False, True, True),
    "true sound, their voicing": (True, False, False),
    "true vocals": (True, True, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, help="so many songs of each folder")
    args = parser.parse_args()
    aligner = Aligner()
    errors: dict[str, list[np.ndarray]] = {name: [] for name in KINDS}
    for track in (track for folder in args.songs for track in islice(find_tracks(folder), args.limit)):
        lyrics = track.annotations().lyrics
        if lyrics is None or not lyrics.words or "vocals" not in track.stem_names:
            continue
        text, first, reference = reference_words(lyrics)
        heard = aligner.separator.from_audio(*track.audio())
        true = aligner.separator.from_audio(*track.audio("vocals"), separated=True)
        for name, (sound, voicing, mixture) in KINDS.items():
            vocals = replace(
                true if voicing else heard,
                signal=(true if sound else heard).signal,
                mixture=heard.mixture if mixture else None,
            )
            starts = token_starts([word.start_s for word in aligner.from_vocals(vocals, text).words])[first]
            errors[name].append(np.abs(starts - reference - track.lyrics_lead_s))
    if not any(errors.values()):
        parser.error("no song has a stem of vocals and words with times")
    for name, found in errors.items():
        every = np.concatenate(found)
        shares = "  ".join(f"{(every <= tolerance).mean():.3f} within {tolerance:g} s" for tolerance in TOLERANCES_S)
        print(f"{name:28} {len(found):4} songs {len(every):6} words  {shares}")


if __name__ == "__main__":
    main()
