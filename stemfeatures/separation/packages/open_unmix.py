"""Open-Unmix (Stöter, Uhlich, Liutkus and Mitsufuji, JOSS 2019), with one Wiener iteration, as it does by default."""

from __future__ import annotations

from importlib import metadata

import numpy as np

from ..external import Tool, in_stereo, weights_sha256

DEFAULT = "umxl"


def load(model: str | None, *, device: str = "cpu") -> Tool:
    """Load Open-Unmix.

    Parameters
    ----------
    model : str or None
        ``umxl``, ``umxhq``, ``umx`` or ``umxse``.
    device : str, optional
        Torch device.

    Returns
    -------
    Tool
        The separator.
    """
    import torch
    from openunmix import utils

    net = utils.load_separator(model or DEFAULT, device=device)
    net.freeze()
    net.to(device)
    rate = int(net.sample_rate)
    # Of one channel, as umxse is: of two that are the same, its Wiener filter would invert a singular matrix.
    mono = bool(getattr(getattr(net, "complexnorm", None), "mono", False))

    def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
        y = torch.from_numpy(stereo)
        with torch.inference_mode():
            stems = net.to_dict(net((y[:, None] if mono else y[None]).to(device)))
        return {stem: (y[:, 0] if mono else y[0]).cpu().numpy() for stem, y in stems.items()}

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return in_stereo(y, sample_rate, rate, run)

    return Tool(separate, tuple(net.target_models), metadata.version("openunmix"), weights_sha256(net))
