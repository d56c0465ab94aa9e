"""In which precision a network computes.

``bfloat16`` has the range of float32 and 8 bits of its mantissa. Processors with instructions for it (``avx512_bf16``,
AMX) take about half of the time for a product; those of ARM (``bf16``) were not measured. What is summed, and what is
given out, stays in float32 (:mod:`.fusion`); docs/precision.md says how far values move.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.devices import is_cpu

if TYPE_CHECKING:
    import torch

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
PRECISIONS = (FLOAT32, BFLOAT16, AUTO)
_CPUINFO = Path("/proc/cpuinfo")
#: What Linux calls the instructions, in the line "flags" of Intel and AMD or "Features" of ARM.
_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


@cache
def computes_in_bfloat16() -> bool:
    """Whether the processor of this machine has instructions for products of bfloat16.

    Returns
    -------
    bool
        False also where it cannot be told.
    """
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    except OSError:
        return False
    return any(flag in flags for flag in _FLAGS)


def resolved_precision(precision: str, device: str = "cpu") -> str:
    """What ``auto`` is on this machine.

    Parameters
    ----------
    precision : str
        One of :data:`PRECISIONS`.
    device : str, optional
        Torch device.

    Returns
    -------
    str
        ``"float32"`` or ``"bfloat16"``.

    Raises
    ------
    ValueError
        Another name, or bfloat16 for a device that is no CPU.

    Examples
    --------
    >>> resolved_precision("auto", "cuda")
    'float32'
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; there are: {', '.join(PRECISIONS)}")
    if precision == AUTO:
        return BFLOAT16 if is_cpu(device) and computes_in_bfloat16() else FLOAT32
    if precision == BFLOAT16 and not is_cpu(device):
        raise ValueError(f"bfloat16 is for networks on a CPU, and not for device {device!r}: ask for device cpu")
    return precision


def mixed_precision(precision: str, device: str = "cpu") -> bool:
    """Whether a network is to be trained in bfloat16 and float32 mixed.

    Parameters
    ----------
    precision : str
        One of :data:`PRECISIONS`; ``auto``: where the device has instructions for bfloat16.
    device : str, optional
        Torch device.

    Returns
    -------
    bool
        True for ``autocast``.

    Examples
    --------
    >>> mixed_precision("bfloat16"), mixed_precision("float32")
    (True, False)
    """
    if precision != AUTO:
        return precision == BFLOAT16
    if is_cpu(device):
        return computes_in_bfloat16()
    import torch

    return device.partition(":")[0] == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def dtype_of(precision: str) -> torch.dtype:
    """The type of tensors of a precision that is resolved.

    Parameters
    ----------
    precision : str
        ``"float32"`` or ``"bfloat16"``.

    Returns
    -------
    torch.dtype
        Of weights and planes.

    Examples
    --------
    >>> dtype_of("bfloat16")
    torch.bfloat16
    """
    import torch

    return {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16}[precision]
