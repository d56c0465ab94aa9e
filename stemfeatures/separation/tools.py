"""The names of separators of other packages; nothing is imported to know them."""

from __future__ import annotations

from importlib import metadata

#: Entry points of other packages.
GROUP = "stemfeatures.separators"
#: Separators of other packages that this one knows how to call: name, and module of :mod:`.packages`.
PACKAGES = {
    "demucs": "demucs",
    "openunmix": "open_unmix",
    "spleeter": "spleeter",
    "audio-separator": "audio_separator",
}


def separator_names() -> tuple[str, ...]:
    """Names that :func:`open_external` knows.

    Returns
    -------
    tuple of str
        Those of this package first, whether they are installed or not.

    Examples
    --------
    >>> separator_names()[:2]
    ('demucs', 'openunmix')
    """
    return tuple(dict.fromkeys([*PACKAGES, *sorted(metadata.entry_points(group=GROUP).names)]))
