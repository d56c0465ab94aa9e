"""Which device there is to compute on."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger(__name__)

#: Has an entry for each NVIDIA GPU whose driver is loaded.
_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
#: Is there where the driver of AMD's GPUs is.
_AMD_GPUS = Path("/dev/kfd")


def is_cpu(device: str) -> bool:
    """Whether a torch device is the processor, also by a number as in ``cpu:0``."""
    return device.partition(":")[0] == "cpu"


def best_device() -> str:
    """``"cuda"`` where PyTorch sees a GPU, else ``"cpu"``; warns of GPUs that it does not see.

    One process is faster with it. Whether all GPUs of a machine are faster than all of its cores is another question.
    """
    if not _may_have_gpus():
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if trouble := unseen_gpus():
        log.warning("%s; computing on the CPU", trouble)
    return "cpu"


def _may_have_gpus() -> bool:
    """False where it is sure, without loading PyTorch, that it sees none: CUDA comes with its driver's library."""
    if sys.platform != "linux" or _NVIDIA_GPUS.exists() or _AMD_GPUS.exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def unseen_gpus() -> str | None:
    """What to tell where the machine has GPUs that PyTorch does not use; None where all is well."""
    import torch

    try:
        here = os.listdir(_NVIDIA_GPUS)
    except OSError:
        return None
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not here or hidden or torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"there is a GPU here, and PyTorch {torch.__version__} is built for CPUs alone (see pytorch.org)"
    return f"there is a GPU here, and its driver does not go with PyTorch {torch.__version__}"
