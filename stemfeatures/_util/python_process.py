"""Processes of Python beside this one, with the modules that this one has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: For the environment of a process of Python that shall import nothing from the folder that it is started in. Any text
#: will do; this one is told from what a user has set.
SAFE_PATH = {"PYTHONSAFEPATH": "stemfeatures"}


def imports_from_folder() -> bool:
    """Whether modules of this process come from its folder first, by Python's own rule: ``python -m``, ``python -c``,
    a console or a notebook. Those of a command that is installed do not."""
    try:
        return sys.path[:1] in ([""], [os.getcwd()])
    except OSError:  # the folder was deleted
        return False


def environment_as_here() -> dict[str, str]:
    """Variables for a process of Python that imports from its folder only if this one does; see
    :func:`forget_safe_path`."""
    said = any(os.environ.get(name) for name in SAFE_PATH)
    return {} if said or imports_from_folder() else {**SAFE_PATH}


def forget_safe_path() -> None:
    """Called in such a process once it has begun: programs that a separator starts from it find the modules beside
    their script, as those find that are started from a shell."""
    for name, value in SAFE_PATH.items():
        if os.environ.get(name) == value:
            del os.environ[name]


@contextmanager
def variables_as_before(names: Iterable[str]) -> Iterator[None]:
    """Variables of the environment are at the end of the block what they were before it."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def paths_as_here() -> Iterator[None]:
    """Processes of Python that :mod:`multiprocessing` starts meanwhile import from their folder only if this one does.

    They are told where modules come from, but not before they have imported what reads it, by which time a ``json.py``
    in a folder of music would be in the place of the standard library's.
    """
    with variables_as_before(SAFE_PATH):
        os.environ.update(environment_as_here())
        yield


def python_command(program: str, *arguments: str) -> list[str]:
    """The command of a process that runs some lines of Python.

    Modules come from where they come from here. The interpreter alone would take those that lie in the folder that the
    process is started in, which may be one of music from anywhere, before those of the standard library.

    Parameters
    ----------
    program : str
        Lines of Python.
    *arguments : str
        What ``sys.argv`` holds behind its first.

    Returns
    -------
    list of str
        For :mod:`subprocess`.

    Examples
    --------
    >>> import subprocess
    >>> command = python_command("import sys; print(sys.argv[1].upper())", "yes")
    >>> subprocess.run(command, capture_output=True, text=True).stdout
    'YES\\n'
    """
    path = [entry for entry in sys.path if isinstance(entry, str)]  # imports pass over what else is in it
    return [sys.executable, "-P", "-c", f"import sys\nsys.path[:] = {path!a}\n{program}", *arguments]
