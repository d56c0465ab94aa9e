"""Pieces of HTML. Whatever comes from a catalogue is escaped here and nowhere else."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from stemfeatures.plots.axes import STEM_COLOURS

from .facts import Histogram

#: What stands for a value that could not be measured.
NOTHING = "\N{EN DASH}"
#: Width and height of a histogram in pixels.
_WIDTH, _HEIGHT = 150, 44


def page(title: str, body: str, *, script: str = "", data: dict[str, Any] | None = None) -> str:
    """A whole page with its style and script, for browsers and without any other file.

    Parameters
    ----------
    title : str
        Text.
    body : str
        HTML.
    script : str, optional
        Name of a script of this package.
    data : dict, optional
        What the script reads, of JSON types.

    Returns
    -------
    str
        HTML in UTF-8.
    """
    style = _asset("report.css")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title><style>{style}</style></head><body>",
        body,
    ]
    if data is not None:
        # The one sequence that would end the element; JSON reads the escape as the same text.
        content = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("</", "<\\/").replace("<!", "<\\u0021")
        parts.append(f'<script type="application/json" id="data">{content}</script>')
    if script:
        parts.append(f"<script>{_asset(script)}</script>")
    return "\n".join([*parts, "</body></html>\n"])


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def text(value: object) -> str:
    """Text as HTML."""
    return html.escape(str(value), quote=True)


def rounded(value: float, digits: int) -> str:
    """A number with so many significant digits; without an exponent where it has more before the point."""
    return f"{value:,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()) -> str:
    """A table that scrolls where it is wider than the page; columns ``numbers`` are aligned to the right."""

    def line(cells: Sequence[object], tag: str) -> str:
        made = (f"<{tag}{' class=n' if i in numbers else ''}>{text(c)}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def figures(pairs: Iterable[tuple[str, str]]) -> str:
    """Numbers that matter most, large, with what they are below."""
    return f'<dl class="figures">{"".join(f"<div><dd>{text(v)}</dd><dt>{text(k)}</dt></div>" for k, v in pairs)}</dl>'


def histogram(h: Histogram) -> str:
    """A small picture of a distribution."""
    most = max(h.counts) or 1
    step = _WIDTH / len(h.counts)
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{_HEIGHT - _HEIGHT * c / most:.1f}" width="{step - 0.6:.1f}" '
        f'height="{_HEIGHT * c / most:.1f}"/>'
        for i, c in enumerate(h.counts)
        if c
    )
    at = _WIDTH * (min(max(h.median, h.low), h.high) - h.low) / (h.high - h.low)
    label = f"{h.stem}: median {rounded(h.median, 3)} {h.unit}, {h.n:,} tracks, {h.n_null:,} null"
    colour = STEM_COLOURS.get(h.stem, "currentColor")
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(label)}" fill="{colour}">'
        f'<title>{text(label)}</title>{bars}<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{_HEIGHT}"/></svg>'
        f"<figcaption>{text(h.stem)}<b>{rounded(h.median, 3)}</b></figcaption></figure>"
    )


def packed(values: np.ndarray) -> str:
    """Numbers as base64 of float32, or int32 where they are integers: a page of tens of thousands of tracks reads that
    fast."""
    stored = "<i4" if np.issubdtype(values.dtype, np.integer) else "<f4"
    return _base64(values, stored)


def coded(values: Sequence[str]) -> dict[str, Any]:
    """Words of which many are the same: ``names``, the empty one first, and a number of two bytes for each value."""
    names = ["", *sorted(set(values) - {""})]
    code = {name: i for i, name in enumerate(names)}
    return {"names": names, "codes": _base64(np.array([code[v] for v in values]), "<u2")}


def _base64(values: np.ndarray, stored: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=stored).tobytes()).decode()
