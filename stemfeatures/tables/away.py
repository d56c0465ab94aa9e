"""Files that cannot be looked at now, which says nothing about what is in them.

A store that is overloaded, a network drive that was taken away, a key that has expired: a file may be whole all the
same. Nobody shall take it for lost, and its rows out of a dataset, before somebody has looked.
"""

from __future__ import annotations

import errno
from typing import TypeGuard

from .._util.objects import StoreError
from .._util.urls import Place
from ..errors import UnreachableError

#: Of a disk, a network drive or a store that does not let us look; names that some systems lack are left out.
_AWAY = {
    number
    for name in (
        "EACCES", "EAGAIN", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "EINTR",
        "EIO", "EMFILE", "ENETDOWN", "ENETUNREACH", "ENFILE", "ENODEV", "ENOMEM", "ENOTCONN", "ENXIO", "EPERM", "EPIPE",
        "EREMOTEIO", "ESTALE", "ETIMEDOUT",
    )
    if (number := getattr(errno, name, None)) is not None
}  # fmt: skip


def is_away(error: BaseException) -> TypeGuard[OSError]:
    """Whether an error says that a file could not be looked at, not that it is lost or damaged.

    Parameters
    ----------
    error : BaseException
        Of opening or reading a file.

    Returns
    -------
    bool
        False also for a file that is not there.

    Examples
    --------
    >>> is_away(TimeoutError()), is_away(FileNotFoundError()), is_away(OSError("Unexpected end of stream"))
    (True, False, False)
    """
    if isinstance(error, FileNotFoundError):
        return False
    if isinstance(error, (StoreError, ConnectionError, TimeoutError, PermissionError)):
        return True
    return isinstance(error, OSError) and error.errno in _AWAY


def away_error(dataset: Place, name: str, error: OSError) -> UnreachableError:
    """What to raise for a file that cannot be looked at.

    Parameters
    ----------
    dataset : Path or Url
        The features directory.
    name : str
        The file, or the table, in it.
    error : OSError
        Why not.

    Returns
    -------
    UnreachableError
        To be raised from ``error``.
    """
    why = " ".join((error.strerror or str(error) or type(error).__name__).split())
    what = f"{name} cannot be read now ({why}); it may be whole, so nothing is taken for lost: try again later"
    return UnreachableError(what, source=str(dataset))
