"""The verbs of the command line, one module each.

A verb's module has ``add_parser(verbs)``, which declares its arguments, and ``run(args) -> int``, which does the work
and returns the exit code. Whatever is slow to import is imported inside ``run``, so that ``--help`` is instant. Every
module of this package whose name has no underscore in front is a verb (``retry_failed.py`` is ``retry-failed``); there
is no list to add it to.
"""

import pkgutil

#: The order in which ``stemfeatures --help`` lists verbs; those not named here follow by name.
_ORDER = (
    "extract",
    "retry-failed",
    "separate",
    "remix",
    "align",
    "singalong",
    "describe",
    "validate",
    "status",
    "report",
    "query",
    "export",
    "compact",
    "merge",
    "check",
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


def verbs() -> tuple[str, ...]:
    """Names of all verbs, in the order in which ``--help`` lists them."""
    there = {
        module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    }
    return (*(name for name in _ORDER if name in there), *sorted(there.difference(_ORDER)))
