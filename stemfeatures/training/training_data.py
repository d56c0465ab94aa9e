"""Where a run's examples come from: isolated sounds, multitracks, both by share, or recordings for one target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DatasetError
from .config import TrainConfig, read_settings
from .data.bank import SoundBank
from .data.device_mixing import DeviceMixer
from .data.draws import Draws
from .data.example import Example, ExampleSource
from .data.excerpts import ExcerptSettings, RecordingExcerpts
from .data.joining import Joining
from .data.mixing import Mixer
from .data.recording_store import RecordingStore
from .data.song_store import SongStore
from .data.songs import SongMixer
from .objectives.find import find_objective


@dataclass(frozen=True)
class TrainingData:
    """Folders of a run: a ``bank`` of :func:`.data.build_bank.build_bank`, ``songs`` of
    :func:`.data.song_store.build_song_store`; or, for objectives with a target, ``recordings``. ``joining``: notes
    which songs joined when, where they may while the run goes on."""

    bank: Path | None = None
    songs: Path | None = None
    recordings: RecordingStore | None = None
    joining: Joining | None = None

    def open(self, config: TrainConfig) -> ExampleSource | RecordingExcerpts:
        """The source that the recipe asks for.

        Raises
        ------
        DatasetError
            The recipe's share of songs needs a folder that is not given, or a folder is not of its kind.
        """
        draws = find_objective(config.objective).draws(config)
        if draws is not None:
            return self._open_recordings(config, draws)
        options: dict[str, int] = {"n_frames": config.n_frames, "seed": config.seed}
        sources: list[ExampleSource] = []
        if config.songs > 0:
            if self.songs is None:
                raise DatasetError(f"recipe {config.name!r} asks for songs (multitracks)", stage="train")
            sources.append(SongMixer(SongStore(self.songs), **options, joining=self.joining))
        if config.songs < 1:
            if self.bank is None:
                raise DatasetError(f"recipe {config.name!r} asks for a bank of isolated sounds", stage="train")
            sources.append(Mixer(SoundBank(self.bank), **options, duets=config.duets))
        return sources[0] if len(sources) == 1 else Shared(sources[0], sources[1], config.songs, config.seed)

    def open_on(self, device: str, config: TrainConfig) -> DeviceMixer:
        """The songs in the memory of a device, which makes batches of them. Raises DatasetError without songs."""
        if self.songs is None:
            raise DatasetError(f"recipe {config.name!r} asks for songs (multitracks)", stage="train")
        return DeviceMixer(
            SongStore(self.songs), batch_size=config.batch_size, n_frames=config.n_frames, seed=config.seed,
            device=device,
        )  # fmt: skip

    def _open_recordings(self, config: TrainConfig, draws: Draws) -> RecordingExcerpts:
        from .objectives.target_networks import grid_of

        if self.recordings is None:
            raise DatasetError(f"recipe {config.name!r} asks for recordings (pairs, solos ...)", stage="train")
        sample_rate, n_samples = grid_of(config)
        store = self.recordings
        if (store.target, store.sample_rate) != (config.target, sample_rate):
            message = f"recordings for {store.target!r} at {store.sample_rate} Hz; the recipe's network wants "
            message += f"{config.target!r} at {sample_rate} Hz"
            raise DatasetError(message, source=str(store.path), stage="train")
        settings = read_settings(ExcerptSettings, config.excerpts, recipe=config.name)
        return RecordingExcerpts(store, draws, n_samples=n_samples, seed=config.seed, settings=settings)


@dataclass(frozen=True)
class Shared:
    """Example ``i`` from ``first`` with the chance ``share``, else from ``second``."""

    first: ExampleSource
    second: ExampleSource
    share: float
    seed: int

    def example(self, index: int) -> Example:
        draw = np.random.default_rng([self.seed, index, 1]).random()
        return (self.first if draw < self.share else self.second).example(index)


class Examples(Dataset):
    """Examples ``first ... last`` as dictionaries of tensors; the source is opened in the process that uses it."""

    def __init__(self, data: TrainingData, config: TrainConfig, first: int, last: int) -> None:
        self.data, self.config, self.first, self.last = data, config, first, last
        self._source: ExampleSource | RecordingExcerpts | None = None

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        if self._source is None:
            self._source = self.data.open(self.config)
        example = self._source.example(self.first + item)
        values = example if isinstance(example, dict) else vars(example)
        return {k: torch.from_numpy(v) for k, v in values.items()}
