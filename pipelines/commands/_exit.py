"""How a command ends."""

DONE = 0
UNEXPECTED = 1
USAGE = 2
SOME_FAILED = 3
INTERRUPTED = 130

#: What the numbers mean, for ``--help`` and docs/cli.md.
EXIT_CODES = {
    DONE: "all done",
    UNEXPECTED: "unexpected error",
    USAGE: "what was asked for cannot be done: bad arguments, no such catalogue, unknown model",
    SOME_FAILED: "done, but some inputs failed or problems were found",
    INTERRUPTED: "interrupted (Ctrl-C)",
}


class UsageError(Exception):
    """What was asked for cannot be done as asked: one line to standard error, exit code 2."""
