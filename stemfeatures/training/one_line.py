"""Errors of the modules that are started with ``python -m``: one line, and the exit code of wrong usage."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StemfeaturesError


@contextmanager
def one_line_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """A context in which what a user can mend ends the program with a line that names file and stage.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of the module.
    """
    try:
        yield
    except (StemfeaturesError, OSError) as error:
        parser.error(str(error))
