"""Stems of multitracks drawn, played faster or slower, equalised and mixed on the device that trains.

A loading process on a CPU makes some ten examples a second; a GPU learns from hundreds. Here all songs lie in the
device's memory as 16-bit integers (ten minutes of music take 100 MB), and a batch is made there in a few milliseconds.
What is drawn is drawn as :class:`~.songs.SongMixer` does, with other random numbers; labels are not made, so this is
for recipes that learn from stems alone.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...constants import ANALYSIS_SAMPLE_RATE as SR
from ...constants import HOP_LENGTH, STEMS
from .song_store import SongStore
from .songs import EQUALISER, LEVELS_DB, OTHER_VOCALS, REMIX, REMIX_SPREAD_DB, ROOM, SILENT, SONG_SPREAD_DB

#: Speeds are 2 ** x, x drawn with this deviation and limited, in so many examples.
_SPEED_SPREAD, _SPEED_LIMIT, _SPEED_SHARE = 0.12, 0.3, 0.7
#: Taps of the resampling filter to each side, and its cut-off as a share of the lower of both Nyquist frequencies.
_REACH, _CUT = 12, 0.95
#: Points of the random equaliser in Hz, and the deviation of its gains.
_POINTS_HZ, _STRENGTH_DB = (0.0, 60.0, 150.0, 400.0, 1000.0, 2500.0, 6000.0, SR / 2), 4.0
_ROOM_S = 1.24


@dataclass
class Excerpts:
    """What a batch is made of; all ``(batch, 4)``, in the order of ``STEMS``.

    ``song``: place in the store; ``start``: first sample; ``rate``: how much faster it is played; ``foreign``: it is
    brought to a common level, being of another song; ``gain_db``: on top of that; ``silent``: left out.
    """

    song: Tensor
    start: Tensor
    rate: Tensor
    foreign: Tensor
    gain_db: Tensor
    silent: Tensor


class DeviceMixer:
    """Makes batch number ``i`` from a store; it depends on the store, the seed, ``i`` and the kind of device alone.

    Parameters
    ----------
    store : SongStore
        The songs; all of them are read into the device's memory.
    batch_size, n_frames : int
        Examples a batch and their length.
    seed : int
        First number of every batch's random state.
    device : str
        Torch device.
    """

    def __init__(self, store: SongStore, *, batch_size: int, n_frames: int, seed: int, device: str) -> None:
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.n_samples = n_frames * HOP_LENGTH
        self.lengths = torch.tensor([store.n_samples(song) for song in range(len(store.songs))])
        # Silence between songs, so that the filter and the end of an excerpt never reach into the next one.
        gap = 2 * _REACH + 2 * self.n_samples
        firsts = _REACH + torch.cumsum(torch.cat([torch.zeros(1, dtype=torch.int64), self.lengths[:-1] + gap]), dim=0)
        audio = torch.zeros(len(STEMS), int(firsts[-1] + self.lengths[-1] + gap), dtype=torch.int16)
        for song, first in enumerate(firsts.tolist()):
            stored = np.load(store.path / f"{store.songs[song].number:05d}.npy", mmap_mode="r")
            audio[:, first : first + stored.shape[1]] = torch.from_numpy(np.array(stored))
        self.audio = audio.to(device)
        self.firsts = firsts.to(device)
        self.scales = torch.tensor([song.scale for song in store.songs], device=device)
        self.levels = torch.tensor([song.levels for song in store.songs], device=device)

    def batch(self, number: int) -> dict[str, Tensor]:
        """``stems`` (batch, 4, n_samples) float32 on the device; the mixture is their sum."""
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        seed = int.from_bytes(digest[:7], "big")
        random = torch.Generator().manual_seed(seed)
        excerpts = self.draw(random)
        noise = torch.Generator(self.device).manual_seed(seed)
        stems = self._coloured(self.excerpts(excerpts), random, noise)
        peak = stems.sum(dim=1).abs().amax(dim=1).clamp_min(1e-5)
        return {"stems": stems * (0.5 / peak)[:, None, None]}

    def draw(self, random: torch.Generator) -> Excerpts:
        """Songs, places, speeds and levels of a batch."""
        batch, stems = self.batch_size, len(STEMS)
        song = torch.multinomial(self.lengths.double(), batch * stems, replacement=True, generator=random)
        spread = (torch.randn(batch, stems, generator=random) * _SPEED_SPREAD).clamp(-_SPEED_LIMIT, _SPEED_LIMIT)
        moved = torch.rand(batch, stems, generator=random) < _SPEED_SHARE
        rate = torch.where(moved, 2.0**spread, torch.ones(()))
        song = song.reshape(batch, stems)
        latest = (self.lengths[song] - (self.n_samples * rate).long() - 64).clamp_min(1)
        start = (torch.rand(batch, stems, generator=random) * latest).long() // HOP_LENGTH * HOP_LENGTH
        kind = torch.rand(batch, 1, generator=random)
        other_vocals = (kind >= REMIX) & (kind < REMIX + OTHER_VOCALS)
        is_vocals = torch.arange(stems) == STEMS.index("vocals")
        foreign = (kind < REMIX) | (other_vocals & is_vocals)
        # What belongs together is where the drums are.
        first = STEMS.index("drums")
        song, start, rate = (torch.where(foreign, x, x[:, first : first + 1]) for x in (song, start, rate))
        spreads = torch.where(foreign, REMIX_SPREAD_DB, SONG_SPREAD_DB)
        gain_db = torch.randn(batch, stems, generator=random) * spreads
        gain_db += torch.where(foreign, torch.tensor([LEVELS_DB[stem] for stem in STEMS]), torch.zeros(()))
        silent = torch.rand(batch, stems, generator=random) < SILENT
        return Excerpts(song, start, rate, foreign, gain_db, silent)

    def excerpts(self, drawn: Excerpts) -> Tensor:
        """(batch, 4, n_samples): read, resampled, at their levels."""
        song, rate = drawn.song.to(self.device), drawn.rate.to(self.device)
        first = self.firsts[song] + drawn.start.to(self.device)
        place = torch.arange(self.n_samples, device=self.device) * rate.double()[..., None]
        whole = place.floor()
        fraction, index = (place - whole).float(), first[..., None] + whole.long()
        row = torch.arange(len(STEMS), device=self.device)[:, None].expand_as(index[0])
        cut = _CUT / rate.clamp_min(1.0)[..., None]
        as_it_is = (rate == 1)[..., None]
        y = torch.zeros_like(fraction)
        for tap in range(-_REACH + 1, _REACH + 1):
            distance = tap - fraction
            weight = cut * torch.sinc(cut * distance) * torch.cos(math.pi / 2 * distance / (_REACH + 1)).square()
            weight = torch.where(as_it_is, float(tap == 0), weight)
            y += weight * self.audio[row, index + tap]
        y *= self.scales[song][..., None]
        level = torch.maximum(_rms(y), 0.1 * self.levels[song, torch.arange(len(STEMS), device=self.device)])
        gain = 10 ** (drawn.gain_db.to(self.device) / 20)
        gain = torch.where(drawn.foreign.to(self.device), gain * 0.1 / level.clamp_min(1e-5), gain)
        gain = gain.masked_fill(drawn.silent.to(self.device) | (level < 1e-5), 0.0)
        return y * gain[..., None]

    def _coloured(self, stems: Tensor, random: torch.Generator, noise: torch.Generator) -> Tensor:
        """Random equalisers and rooms, in one pass."""
        shape = stems.shape[:2]
        size = 1 << math.ceil(math.log2(self.n_samples + _ROOM_S * SR))
        bins = size // 2 + 1
        points = torch.randn(*shape, len(_POINTS_HZ), generator=random) * _STRENGTH_DB
        points *= torch.rand(*shape, 1, generator=random) < EQUALISER
        curve = points.to(stems) @ _interpolation(bins).to(stems).T
        spectrum = torch.fft.rfft(stems, size) * 10 ** (curve / 20)
        for example, stem in (torch.rand(shape, generator=random) < ROOM).nonzero().tolist():
            spectrum[example, stem] *= torch.fft.rfft(self._room(random, noise), size)
        return torch.fft.irfft(spectrum, size)[..., : self.n_samples]

    def _room(self, random: torch.Generator, noise: torch.Generator) -> Tensor:
        """An impulse response: the direct sound and noise that decays over 0.15 to 1.8 s."""
        decay, wet_db, wait = torch.rand(3, generator=random).tolist()
        decay_s = 0.15 * (1.8 / 0.15) ** decay
        samples, delay = int(min(decay_s, 1.2) * SR), int(0.04 * wait * SR)
        t = torch.arange(samples, device=self.device) / SR
        tail = torch.randn(samples, generator=noise, device=self.device) * 10 ** (-3 * t / decay_s)
        response = torch.zeros(samples + delay, device=self.device)
        response[delay:] = tail * 10 ** ((-24 + 18 * wet_db) / 20) / tail.square().sum().add(1e-12).sqrt()
        response[0] += 1.0
        return response


def _rms(y: Tensor) -> Tensor:
    """As :func:`.effects.rms`, of the last axis."""
    power = y[..., : y.shape[-1] // 1024 * 1024].unflatten(-1, (-1, 1024)).square().mean(dim=-1)
    loud = (power > 1e-4 * power.amax(dim=-1, keepdim=True)).to(y)
    return ((power * loud).sum(dim=-1) / loud.sum(dim=-1).clamp_min(1)).sqrt()


def _interpolation(bins: int) -> Tensor:
    """(bins, points) weights: gains at the equaliser's points to gains of all bins, linear over log frequency."""
    axis = np.log2(np.linspace(0, SR / 2, bins) + 30.0)
    points = np.log2(np.array(_POINTS_HZ) + 30.0)
    return torch.tensor(np.stack([np.interp(axis, points, unit) for unit in np.eye(len(points))], axis=1))
