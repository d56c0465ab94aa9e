"""A separator from outside is tried in a process of its own before a run begins, which it may end, hang or fill.

What the trial tells is where its stems come from. Packages print, change the folder, start threads and end the process
in their native libraries: of all that the driver sees an answer, or that there is none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from stemfeatures._util.clock import awake_s
from stemfeatures._util.python_process import python_command
from stemfeatures.errors import ModelError, SeparationError

from .watch import in_time

#: A separator of another package may take so long to be there, with the download of its weights.
OPEN_SEPARATOR_S = 3600.0
_POLL_S = 0.05
_PROGRAM = f"from {__name__} import answer; answer(*sys.argv[1:])"


def origin_of(name: str) -> dict[str, str]:
    """Where the stems of a separator come from.

    Parameters
    ----------
    name : str
        See :func:`stemfeatures.separation.external.open_external`.

    Returns
    -------
    dict of str to str
        Columns of table ``tracks``, see :func:`stemfeatures.separation.given_stems.origin`.

    Raises
    ------
    ModelError
        There is no such separator, it gives no stems of two seconds of noise, it ends the process that it is loaded
        in, or there is no answer within :data:`OPEN_SEPARATOR_S`.
    """
    if is_here_alone(name):
        return in_time(lambda: _try(name), limit_s=OPEN_SEPARATOR_S, late=partial(ModelError, source=name))
    with tempfile.TemporaryDirectory(prefix="stemfeatures-") as folder:
        said = Path(folder, "answer.json")
        code = _run(name, said)
        try:
            answer = json.loads(said.read_bytes())
        except (FileNotFoundError, ValueError):
            raise ModelError(
                f"the separator ends its process while it is loaded or tried: {_end(code)}", source=name
            ) from None
    if "error" in answer:
        raise ModelError(answer["error"], source=answer["source"])
    found: dict[str, str] = answer["origin"]
    return found


def is_here_alone(name: str) -> bool:
    """Whether no other process can import a separator: it is a notebook's, or of the program itself."""
    module = name.partition(":")[0]
    found = sys.modules.get(module)
    return found is not None and (module == "__main__" or getattr(found, "__spec__", None) is None)


def _run(name: str, said: Path) -> int:
    """The exit code of the trial; its output is for people, so all of it goes to standard error."""
    process = subprocess.Popen(python_command(_PROGRAM, name, str(said)), stdin=subprocess.DEVNULL, stdout=2)
    since = awake_s()
    try:
        while (code := process.poll()) is None:
            if awake_s() - since > OPEN_SEPARATOR_S:
                raise ModelError(f"no answer within {OPEN_SEPARATOR_S:g} s", source=name)
            time.sleep(_POLL_S)
    finally:
        process.kill()
        process.wait()
    return code


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        by = signal.Signals(-code).name
    except ValueError:
        by = f"signal {-code}"
    return f"{by}, as where memory is short" if by == "SIGKILL" else by


def _try(name: str) -> dict[str, str]:
    from stemfeatures.separation.external import open_external
    from stemfeatures.separation.given_stems import origin

    separator = open_external(name)
    try:
        separator.try_out()
    except SeparationError as error:
        raise ModelError(f"separator {name!r} cannot be used: {error.message}") from error
    return {column: str(value) for column, value in origin(separator).items()}


def answer(name: str, said: str) -> None:
    """Try a separator in this process, which is the trial's, and write what it tells to a file.

    Parameters
    ----------
    name : str
        Of the separator.
    said : str
        Path of the file: a JSON object with ``origin``, or with ``error`` and ``source``.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, who ends this process
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        found: dict[str, Any] = {"origin": _try(name)}
    except ModelError as error:
        found = {"error": error.message, "source": error.source}
    part = Path(f"{said}.part")
    part.write_text(json.dumps(found))
    part.replace(said)
    os._exit(0)  # threads that a separator has started may never end


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1.0)
    os._exit(1)
