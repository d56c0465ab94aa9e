"""The verbs of the command line, one module each.

A verb's module has ``add_parser(verbs)``, which declares its arguments, and ``run(args) -> int``, which does the work
and returns the exit code. Whatever is slow to import is imported inside ``run``, so that ``--help`` is instant.
"""

#: In the order in which ``stemfeatures --help`` lists them.
VERBS = (
    "extract",
    "separate",
    "remix",
    "describe",
    "validate",
    "status",
    "compact",
    "schema",
    "index",
    "similar",
    "neighbours",
    "recommend",
    "models",
    "generate",
    "train",
    "evaluate",
    "doctor",
)
