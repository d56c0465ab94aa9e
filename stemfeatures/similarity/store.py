"""Vectors on disk, a file for each block, read a bounded number of rows at a time.

Files are read, not mapped: mapped pages would count as memory of the process, and a worker that looks at a large index
would be killed for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import DatasetError


@dataclass(frozen=True)
class Block:
    """The vectors of one stem and family.

    Attributes
    ----------
    stem, family : str
        What they describe.
    names : list of str
        Of the coordinates.
    columns : list of str
        Matrix column that each coordinate comes from.
    mean, variance : list of float
        Of the coordinates over all tracks.
    """

    stem: str
    family: str
    names: list[str]
    columns: list[str]
    mean: list[float]
    variance: list[float]

    @property
    def file(self) -> str:
        return f"{self.stem}__{self.family}.npy"

    @property
    def power(self) -> float:
        """Mean squared distance of two random tracks."""
        return 2 * float(np.sum(self.variance))


@dataclass
class VectorStore:
    """The vectors of ``n_rows`` tracks in a folder, one float32 ``.npy`` file a block."""

    folder: Path
    n_rows: int
    blocks: list[Block]
    _offsets: dict[str, int] = field(default_factory=dict, repr=False)

    def read(self, start: int, stop: int, blocks: Sequence[Block]) -> np.ndarray:
        """Rows ``start`` to ``stop`` of the given blocks side by side, (n, width) float32."""
        return self._beside(
            np.fromfile(path, np.float32, (stop - start) * width, offset=offset + 4 * start * width).reshape(-1, width)
            for path, width, offset in map(self._file, blocks)
        )

    def take(self, rows: np.ndarray, blocks: Sequence[Block]) -> np.ndarray:
        """The given rows of the given blocks side by side, (n, width) float32."""
        return self._beside(
            np.asarray(np.memmap(path, np.float32, "r", offset, (self.n_rows, width))[rows])
            for path, width, offset in map(self._file, blocks)
        )

    def chunks(self, blocks: Sequence[Block], *, values: int) -> Iterator[tuple[int, int]]:
        """Bounds of row ranges of at most about ``values`` values."""
        step = max(1, values // max(1, sum(len(b.names) for b in blocks)))
        for start in range(0, self.n_rows, step):
            yield start, min(start + step, self.n_rows)

    def create(self, rows: Iterator[np.ndarray], slices: Sequence[slice]) -> None:
        """Write the vectors; each item of ``rows`` holds the next rows, ``slices`` the columns of each block."""
        files = [
            np.lib.format.open_memmap(self.folder / b.file, "w+", np.float32, (self.n_rows, len(b.names)))
            for b in self.blocks
        ]
        start = 0
        for values in rows:
            for file, s in zip(files, slices):
                file[start : start + len(values)] = values[:, s]
            start += len(values)
        for file in files:
            file.flush()

    def _file(self, block: Block) -> tuple[Path, int, int]:
        path, width = self.folder / block.file, len(block.names)
        if block.file not in self._offsets:
            try:
                vectors = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise DatasetError(f"cannot read the index: {error}; build it again", source=str(path)) from error
            if vectors.shape != (self.n_rows, width) or vectors.dtype != np.float32:
                raise DatasetError("the index is damaged; build it again", source=str(path))
            self._offsets[block.file] = vectors.offset
        return path, width, self._offsets[block.file]

    @staticmethod
    def _beside(parts: Iterator[np.ndarray]) -> np.ndarray:
        arrays = list(parts)
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
