"""Running the network over tracks of any length in bounded memory.

A track is cut into segments of ``SEGMENT`` frames that overlap. Neighbours meet ``BORDER`` frames inside each other,
where they are blended over ``2 * FADE`` frames; since the blend is linear, masks still sum to one. The last segment
ends with the track, may be longer than the others by ``STRETCH`` and begins as far back as it must to have half of
their frames, and a multiple of ``GRAIN``: what it sees twice is lost, and few lengths share batches and compiled
convolutions. A track that is shorter than that makes one, as long as it is. Segments of several tracks may share a
batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..constants import N_BINS, STEMS
from ..errors import SeparationError
from ..models.joint import JointNet
from ..spectra.bands import even_power
from ..spectra.planes import magnitudes

#: 31.2 s, so that an excerpt of 30 s is one segment.
SEGMENT = 1344
#: From the 16th frame on the masks of a segment are as near to those of a longer one as in its middle.
BORDER = 32
FADE = 16
GRAIN = 128
#: A few frames behind a segment would make another one of which nearly all has been seen.
STRETCH = 3 * GRAIN
#: Frames that are given out at a time.
TOGETHER = 512


@dataclass
class Frames:
    """Network results for consecutive frames ``first ... first + k``.

    Attributes
    ----------
    first : int
        Number of the first frame in the track.
    spectrum : Tensor
        ``(n_fft // 2 + 1, k)`` complex, of the analysis signal.
    masks : Tensor
        ``(4, N_BINS, k)``, 0..1; those of all stems sum to one.
    salience : Tensor
        ``(2, N_PITCH_BINS, k)`` probabilities.
    voicing : Tensor
        ``(2, k)`` probabilities.
    rhythm : Tensor
        ``(3, k)`` probabilities.
    presence : Tensor, optional
        ``(4, k)`` probabilities; None from a network that does not say it.
    further : Tensor, optional
        ``(n, N_BINS, k)`` masks of stems beside the four; None without any.
    """

    first: int
    spectrum: Tensor
    masks: Tensor
    salience: Tensor
    voicing: Tensor
    rhythm: Tensor
    presence: Tensor | None = None
    further: Tensor | None = None

    def __len__(self) -> int:
        return self.masks.shape[-1]


@dataclass
class Segment:
    """Frames ``start ...`` of one track.

    Attributes
    ----------
    owner : SegmentTrack
        The track.
    start : int
        Number of its first frame.
    spectrum : Tensor
        ``(n_fft // 2 + 1, n_frames)`` complex.
    first, stop : int
        The frames that the track takes from this segment.
    is_last : bool
        Whether the track ends with it.
    stems : Tensor, optional
        ``(n, n_fft // 2 + 1, n_frames)`` spectra of its stems, where the track came with them.
    """

    owner: SegmentTrack
    start: int
    spectrum: Tensor
    first: int
    stop: int
    is_last: bool
    stems: Tensor | None = None

    @property
    def stem_names(self) -> tuple[str, ...]:
        """Names of ``stems``."""
        return self.owner.stem_names


class SegmentTrack:
    """Cuts one track into segments and puts the results together.

    Parameters
    ----------
    on_frames : callable
        Called with every :class:`Frames` as it is finished, in order and without gaps.
    on_features : callable, optional
        Called with ``(features (channels, bins, cells), masked power (4, bins, frames), stride, first frame)`` of each
        segment: the power summed over the ``N_BINS / bins`` bins of the spectrum that a bin of the features stands for,
        and 0 in frames that are not used; rows of further stems follow the four.
    segment : int, optional
        Frames of a segment.
    stem_names : tuple of str, optional
        Stems whose spectra come with those of the signal.
    """

    def __init__(
        self,
        on_frames: Callable[[Frames], None],
        on_features: Callable[[Tensor, Tensor, int, int], None] | None = None,
        *,
        segment: int = SEGMENT,
        stem_names: tuple[str, ...] = (),
    ) -> None:
        self.on_frames, self.on_features, self.segment = on_frames, on_features, segment
        self.stem_names = stem_names
        self._held: Tensor | None = None
        self._held_start = 0
        self._spare: Tensor | None = None
        self._boundary = 0
        self._n_frames = 0
        self._fading: tuple[int, dict[str, Tensor]] | None = None
        self.finished = False

    def push(self, spectrum: Tensor, stems: Tensor | None = None) -> Iterator[Segment]:
        """Add spectra ``(bins, k)``, and those ``(n, bins, k)`` of the stems; yields the segments that are now complete
        and not the last."""
        spectrum = spectrum[None] if stems is None else torch.cat([spectrum[None], stems])
        self._held = spectrum if self._held is None else torch.cat([self._held, spectrum], dim=-1)
        self._n_frames += spectrum.shape[-1]
        # A segment may only leave when more frames follow, for the last one is placed differently.
        while self._held.shape[-1] > self.segment + STRETCH:
            stop = self._held_start + self.segment - BORDER
            yield self._segment(self._held_start, self._held[..., : self.segment].clone(), stop, is_last=False)
            self._boundary = stop
            step = self.segment - 2 * BORDER
            # Frames before the next segment stay, as the last segment may reach back to them.
            self._spare = self._held[..., :step]
            self._held = self._held[..., step:]
            self._held_start += step

    def finish(self) -> Iterator[Segment]:
        """Yields the last segment."""
        if self._held is None:
            raise ValueError("no frames were pushed")
        spectrum, start = self._held, self._held_start
        if self._spare is not None:
            missing = self._last_length(spectrum.shape[-1]) - spectrum.shape[-1]
            spare = self._spare[..., self._spare.shape[-1] - missing :]
            spectrum, start = torch.cat([spare, spectrum], dim=-1), start - missing
        yield self._segment(start, spectrum, self._n_frames, is_last=True)
        self._held = None

    def _last_length(self, n_frames: int) -> int:
        """Frames of the last of several segments that has so many frames of its own."""
        half, longest = self.segment // 2, self.segment + STRETCH
        return half if n_frames <= half else min(-(-n_frames // GRAIN) * GRAIN, longest)

    def _segment(self, start: int, spectra: Tensor, stop: int, *, is_last: bool) -> Segment:
        stems = spectra[1:] if len(spectra) > 1 else None
        return Segment(self, start, spectra[0], self._boundary, stop, is_last, stems)

    def accept(self, segment: Segment, values: dict[str, Tensor]) -> None:
        """Take the results of a segment (in order)."""
        tensors = {"spectrum": segment.spectrum, **values}
        first = segment.first
        if self._fading is not None:
            fade_start, before = self._fading
            width = before["masks"].shape[-1]
            ramp = (torch.arange(width, device=before["masks"].device) + 0.5) / width
            mixed = {}
            for name, old in before.items():
                new = tensors[name][..., fade_start - segment.start :][..., :width]
                mixed[name] = new if name == "spectrum" else old * (1 - ramp) + new * ramp
            self.on_frames(Frames(fade_start, **mixed))
            first = fade_start + width
        stop = segment.stop if segment.is_last else segment.stop - FADE
        cut = slice(first - segment.start, stop - segment.start)
        if stop > first:
            self._give(first, {k: v[..., cut] for k, v in tensors.items()})
        if segment.is_last:
            self._fading, self.finished = None, True
        else:
            tail = slice(stop - segment.start, stop + 2 * FADE - segment.start)
            self._fading = (stop, {k: v[..., tail].clone() for k, v in tensors.items()})

    def _give(self, first: int, tensors: dict[str, Tensor]) -> None:
        """Further frames, a few at a time: what is made of them takes many times their memory."""
        parts = [v.split(TOGETHER, dim=-1) for v in tensors.values()]
        for i, values in enumerate(zip(*parts)):
            self.on_frames(Frames(first + i * TOGETHER, **dict(zip(tensors, values))))


class SegmentRunner:
    """Collects segments into batches and runs the network on them. Belongs to one thread.

    Parameters
    ----------
    batch_size : int, default=1
        Segments a forward pass. With 1 (the default on a CPU) results do not depend, not even in the last bit, on which
        tracks came before.
    masks : where the masks of some stems come from elsewhere: a segment to ``{stem: mask (N_BINS, k)}``. Those of the
        network's stems take the place of its own; others are further rows.
    """

    def __init__(
        self, model: JointNet, *, device: str = "cpu", batch_size: int = 1,
        masks: Callable[[Segment], Mapping[str, Tensor]] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.device, self.batch_size, self.masks = model, device, batch_size, masks
        self._waiting: list[Segment] = []

    def add(self, segments: Iterator[Segment]) -> None:
        """Queue segments; full batches run at once."""
        for segment in segments:
            self._waiting.append(segment)
            if len(self._waiting) >= self.batch_size:
                self.flush()

    def flush(self) -> None:
        """Run whatever waits."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            batch, waiting = self._alike(waiting)
            self._run(batch)

    def _alike(self, waiting: list[Segment]) -> tuple[list[Segment], list[Segment]]:
        """A batch of those that wait, of one shape, and the rest; segments of a track stay in order."""
        batch: list[Segment] = []
        rest: list[Segment] = []
        shape = waiting[0].spectrum.shape, waiting[0].stem_names
        for segment in waiting:
            fits = len(batch) < self.batch_size and (segment.spectrum.shape, segment.stem_names) == shape
            in_order = all(earlier.owner is not segment.owner for earlier in rest)
            (batch if fits and in_order else rest).append(segment)
        return batch, rest

    def holds(self, track: SegmentTrack) -> bool:
        """Whether segments of a track wait for their batch."""
        return any(s.owner is track for s in self._waiting)

    def forget(self, track: SegmentTrack) -> None:
        """Drop the waiting segments of a track that failed."""
        self._waiting = [s for s in self._waiting if s.owner is not track]

    def _given(self, batch: list[Segment]) -> tuple[dict[str, Tensor] | None, Tensor | None]:
        """Masks of the network's stems, and those (batch, n, N_BINS, k) of further ones."""
        if self.masks is None:
            return None, None
        found = [self.masks(segment) for segment in batch]
        stacked = {stem: torch.stack([masks[stem] for masks in found]) for stem in found[0]}
        further = [mask for stem, mask in stacked.items() if stem not in STEMS]
        given = {stem: mask for stem, mask in stacked.items() if stem in STEMS}
        return given or None, torch.stack(further, dim=1) if further else None

    @torch.inference_mode()
    def _run(self, batch: list[Segment]) -> None:
        magnitude = torch.stack([magnitudes(s.spectrum[:N_BINS]) for s in batch])
        given, further = self._given(batch)
        output = self.model(magnitude, given)
        # The sum is finite where all masks are; to look at each takes ten times as long.
        if not bool(torch.isfinite(output.masks.sum())):
            raise SeparationError("the network's masks are not finite")
        salience, voicing, rhythm = (torch.sigmoid(x) for x in (output.salience, output.voicing, output.rhythm))
        for i, segment in enumerate(batch):
            if segment.owner.on_features is not None:
                cut = slice(segment.first - segment.start, segment.stop - segment.start)
                masks = output.masks[i] if further is None else torch.cat([output.masks[i], further[i]])
                used = torch.zeros_like(magnitude[i])
                used[:, cut] = magnitude[i, :, cut]
                power = even_power(masks[None], used[None], n_bands=output.features.shape[2])[0]
                segment.owner.on_features(output.features[i], power, self.model.stride, segment.start)
            values = {"masks": output.masks[i], "salience": salience[i], "voicing": voicing[i], "rhythm": rhythm[i]}
            if output.presence is not None:
                values["presence"] = torch.sigmoid(output.presence[i])
            if further is not None:
                values["further"] = further[i]
            segment.owner.accept(segment, values)
