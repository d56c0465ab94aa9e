"""Demucs (Rouard, Massa and Défossez, ICASSP 2023): segments with a quarter of overlap, no random shifts."""

from __future__ import annotations

from importlib import metadata

import numpy as np

from ..external import Tool, in_stereo, weights_sha256

DEFAULT = "htdemucs"


def load(model: str | None, *, device: str = "cpu") -> Tool:
    """Load Demucs.

    Parameters
    ----------
    model : str or None
        A name that ``demucs`` knows, such as ``htdemucs_ft`` or ``htdemucs_6s``.
    device : str, optional
        Torch device.

    Returns
    -------
    Tool
        The separator.
    """
    import torch
    from demucs.apply import apply_model
    from demucs.pretrained import get_model

    net = get_model(model or DEFAULT)
    net.to(device)
    rate = int(net.samplerate)

    def run(stereo: np.ndarray) -> dict[str, np.ndarray]:
        # The network was trained on signals of unit variance; this is what the package's own commands do.
        level, spread = float(stereo.mean()), float(stereo.mean(axis=0).std()) + 1e-8
        mix = torch.from_numpy((stereo - np.float32(level)) / np.float32(spread))
        with torch.inference_mode():
            stems = apply_model(net, mix[None], shifts=0, device=device)[0]
        return {s: y.cpu().numpy() * np.float32(spread) + np.float32(level) for s, y in zip(net.sources, stems)}

    def separate(y: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        return in_stereo(y, sample_rate, rate, run)

    return Tool(separate, tuple(net.sources), metadata.version("demucs"), weights_sha256(net))
