"""All that decides when a word is said to be sung, besides vocals and words."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .._util.constants_of import constants_of, digests_of, modules_of
from . import letter_to_sound, onsets, phone_network, singing
from .graph import GraphCosts

#: Raised by whoever changes what the code of the alignment computes; constants and weights count by themselves.
ALIGNMENT_VERSION = 9
#: Modules between vocals and tables whose constants can change a value.
PARTS = tuple(
    f"stemfeatures.lyrics.{name}"
    for name in (
        "acoustic_model",
        "acoustics",
        "adaptation",
        "alignment",
        "captions",
        "cepstra",
        "corridor",
        "counts",
        "credits",
        "description",
        "graph",
        "hints",
        "karaoke",
        "letter_to_sound",
        "lexicon",
        "observations",
        "onsets",
        "phone_network",
        "posterior",
        "respelled",
        "rtf",
        "search",
        "singing",
        "text",
        "versions",
        "viterbi",
        "vocals",
    )
)
#: Constants of these modules that say how much is held or computed at a time: all give the same times.
MEMORY_ALONE = frozenset(
    {
        "HELD_BYTES",
        "MEMORY_BYTES",
        "STRETCH",
        "STRETCH_BYTES",
        "MEMORY",
        "_FEWEST",
        "_CHUNK",
        "_BLOCK",
        "_BLOCK_S",
        "_REMEMBERED",
    }
)
#: Package whose acoustic model and dictionary are read.
_PACKAGE = "pocketsphinx"


def alignment_settings() -> dict[str, Any]:
    """What :class:`.alignment.Aligner` without arguments depends on.

    Returns
    -------
    dict
        ``alignment_version``; ``acoustic_model``, the release of the package that it comes from, None where that is not
        known; ``weights``, the SHA-256 of each file that is shipped; ``costs``; and ``constants``, what the modules
        declare, by name. In the types of JSON.

    Examples
    --------
    >>> alignment_settings()["costs"]["skip_word"]
    80.0
    """
    try:
        release = version(_PACKAGE)
    except PackageNotFoundError:
        release = None
    return {
        "alignment_version": ALIGNMENT_VERSION,
        "acoustic_model": release,
        "weights": digests_of([letter_to_sound.SHIPPED, onsets.SHIPPED, phone_network.SHIPPED, singing.SHIPPED]),
        "costs": asdict(GraphCosts()),
        "constants": constants_of(modules_of(PARTS), without=MEMORY_ALONE),
    }
