"""MUSDB18 (stem files, AAC) and MUSDB18-HQ (wav): 100 songs to train with and 50 to test (Rafii et al., 2017).

The list of the 14 validation songs, the names of the files and the order of the streams are those of the package
``musdb``. Audio is decoded here: as float, without the 16 bits in between, and without ffprobe, which ``musdb`` cannot
even be imported without.

In the stem files the mixture is encoded by itself: the stems sum to it only roughly, and above 16 kHz there is nothing.
In MUSDB18-HQ they sum up to rounding, but for few songs (see :func:`.mixing.mixture_residual_db`).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import MIXTURE, STEMS
from ..errors import CatalogError
from .annotations import Annotations
from .multitrack import MultiTrack, MultitrackDataset, read_audio
from .registry import register_dataset

SUFFIX = ".stem.mp4"


@dataclass(frozen=True)
class Musdb18Track(MultiTrack):
    """One song: a folder of wav files, or one ``.stem.mp4`` with five audio streams."""

    name: str
    dataset: str
    path: Path
    split: str | None = None

    @property
    def artist(self) -> str | None:  # type: ignore[override]
        artist, separator, _ = self.name.partition(" - ")
        return artist if separator else None

    @property
    def stem_names(self) -> tuple[str, ...]:
        return tuple(stem for stem in STEMS if not self.path.is_dir() or self._wav(stem).is_file())

    def audio(self, stem: str = MIXTURE) -> tuple[np.ndarray, int]:
        if stem not in (MIXTURE, *self.stem_names):
            raise KeyError(stem)
        if self.path.is_dir():
            return read_audio(self._wav(stem))
        return read_audio(self.path, stream=setup()["stem_ids"][stem])

    def source(self, stem: str = MIXTURE) -> str:
        return str(self._wav(stem) if self.path.is_dir() else self.path)

    def annotations(self) -> Annotations:
        """Nothing: the set has no labels."""
        return Annotations()

    def _wav(self, stem: str) -> Path:
        return self.path / (setup()["mixture"] if stem == MIXTURE else setup()["sources"][stem])


def musdb18(root: str | Path, *, hq: bool | None = None) -> MultitrackDataset:
    """Open MUSDB18 or MUSDB18-HQ.

    Tracks carry the split ``train`` (86 songs), ``valid`` (14) or ``test`` (50):
    ``musdb18(root).of_split("valid")``. The official split leaves no artist in two parts of train and test, but the
    validation songs were chosen by song.

    Parameters
    ----------
    root : str or Path
        The folder that holds ``train`` and ``test``.
    hq : bool or None
        True for folders of wav files, False for ``.stem.mp4`` files, None to take what is there.

    Returns
    -------
    MultitrackDataset
        Its name is ``musdb18`` or ``musdb18hq``.

    Raises
    ------
    CatalogError
        Neither of the two layouts is there.
    ImportError
        The package ``musdb`` is not installed.
    """
    root = Path(root).expanduser()
    validation = set(setup()["validation_tracks"])
    tracks = []
    for subset in ("train", "test"):
        entries = sorted((root / subset).iterdir()) if (root / subset).is_dir() else []
        for entry in entries:
            is_folder = (entry / setup()["mixture"]).is_file()
            if (not is_folder and not entry.name.endswith(SUFFIX)) or (hq is not None and is_folder != hq):
                continue
            name = entry.name if is_folder else entry.name.removesuffix(SUFFIX)
            split = "valid" if subset == "train" and name in validation else subset
            tracks.append(Musdb18Track(name, "musdb18hq" if is_folder else "musdb18", entry, split))
    names = {track.dataset for track in tracks}
    if len(names) != 1:
        expected = {True: "song folders with mixture.wav", False: f"files *{SUFFIX}", None: "one of the two layouts"}[
            hq
        ]
        raise CatalogError(f"expected {expected} under train and test", source=str(root))
    return MultitrackDataset(names.pop(), tracks)


register_dataset("musdb18")(partial(musdb18, hq=False))
register_dataset("musdb18hq")(partial(musdb18, hq=True))


@cache
def setup() -> dict[str, Any]:
    """The description of the data set that ships with ``musdb``; the package itself is not imported.

    Raises ImportError if it is not installed.
    """
    spec = importlib.util.find_spec("musdb")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("MUSDB18 needs the package musdb: pip install 'stemfeatures[datasets]'")
    import yaml

    path = Path(spec.submodule_search_locations[0]) / "configs" / "mus.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))
