"""Processes of Python beside this one, with the modules that this one has."""

from __future__ import annotations

import sys


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
