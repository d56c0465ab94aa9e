"""Masks of drums and bass that lean towards drums where a bin of the lows is struck, and towards bass where it lasts.

A kick and a bass note share the bins below 430 Hz, of which there are few. What tells them apart there is time: a
stroke is over after a tenth of a second, a note goes on. How much of a bin goes on is the least magnitude of the frames
from 0.1 to 0.2 s before or behind it, whichever is larger. The rest of it is struck.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bins of the analysis grid in which strokes are looked for (430 Hz).
N_LOW_BINS = 40
#: Frames between a bin and what may go on of it, and how many of these are looked at.
BACK, LOOKED_AT = 4, 6
#: Least share that is struck, and that goes on.
FLOOR = 0.02
#: Mean logarithms of both shares in generated songs: masks lean to neither side in the mean.
MEAN_STRUCK, MEAN_LASTING = -2.07, -0.585


def struck_share(magnitude: Tensor) -> Tensor:
    """How much of a bin does not go on.

    Parameters
    ----------
    magnitude : Tensor
        ``(batch, n_bins, n_frames)``, at any level.

    Returns
    -------
    Tensor
        As ``magnitude``, from :data:`FLOOR` to 1.

    Examples
    --------
    >>> tone, stroke = torch.ones(1, 1, 40), torch.zeros(1, 1, 40)
    >>> stroke[..., 20:24] = 1
    >>> round(float(struck_share(tone)[0, 0, 20]), 2), round(float(struck_share(tone + 3 * stroke)[0, 0, 20]), 2)
    (0.02, 0.75)
    """
    frames, reach = magnitude.shape[-1], BACK + LOOKED_AT
    padded = F.pad(magnitude, (reach, reach), mode="replicate")
    least = -F.max_pool1d(-padded, LOOKED_AT, stride=1)
    before, behind = least[..., 1 : 1 + frames], least[..., reach + BACK : reach + BACK + frames]
    lasting = torch.maximum(before, behind) / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny)
    return (1 - lasting).clamp(FLOOR, 1.0)


def leaning(magnitude: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """What the masks of drums and bass are to be multiplied by, before masks are made to sum to one again.

    Parameters
    ----------
    magnitude : Tensor
        ``(batch, N_LOW_BINS, n_frames)`` of the mixture, at any level.
    strength : float
        From 0, at which everything is 1.

    Returns
    -------
    tuple of Tensor
        For the drums and for the bass, as ``magnitude``, positive.
    """
    struck = struck_share(magnitude)
    drums, bass = torch.log(struck) - MEAN_STRUCK, torch.log(1 + FLOOR - struck) - MEAN_LASTING
    return (strength * drums).exp(), (strength * bass).exp()
