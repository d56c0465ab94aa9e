"""Draws docs/images/architecture.svg: the packages as layers, and which imports which, from the code itself.

    python docs/draw_architecture.py

The layers are those of the contract in pyproject.toml that `lint-imports` checks. An arrow means that modules of one
package import modules of the other; arrows that follow from others (a to b to c: a to c) are left out, and so are those
to the foundations, which everybody may use. Type hints alone count for nothing.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a folder of the checkout is imported here, not an installed package of its name
TOPS = ("stemfeatures", "pipelines", "experiments")
FOUNDATIONS = ("_util", "constants", "errors", "fields")
WIDTH, HEIGHT, STEP, APART = 3.0, 0.6, 1.0, 3.6


def layers() -> list[list[str]]:
    """Packages by layer, from the entrance down, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip("() ") for name in re.split(r"[|:]", row)] for row in rows]


def imports(packages: list[str]) -> dict[str, set[str]]:
    """The packages that each package imports."""
    graph = grimp.build_graph(*TOPS, exclude_type_checking_imports=True, cache_dir=None)
    home = {}
    for package in sorted(packages, key=len):
        if package in graph.modules:
            home |= dict.fromkeys({package, *graph.find_descendants(package)}, package)
    found: dict[str, set[str]] = {package: set() for package in packages}
    for module, package in home.items():
        targets = {home.get(target, package) for target in graph.find_modules_directly_imported_by(module)}
        found[package] |= targets - {package}
    return found


def without_implied(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Arrows between packages, but for those that a way over other packages says already."""

    def reached(package: str) -> set[str]:
        return found[package].union(*(reached(target) for target in found[package]))

    return {p: {t for t in ts if not any(t in reached(other) for other in ts - {t})} for p, ts in found.items()}


def draw(path: Path) -> None:
    """Write the picture."""
    rows = layers()
    of_all = [name for row in rows for name in row if name.rpartition(".")[2] in FOUNDATIONS]
    rows = [shown for row in rows if (shown := [name for name in row if name not in of_all])]
    place = {
        name: ((i - (len(row) - 1) / 2) * APART, -STEP * y) for y, row in enumerate(rows) for i, name in enumerate(row)
    }
    plt.rcParams |= {"svg.hashsalt": "stemfeatures", "font.family": "DejaVu Sans"}
    figure, axes = plt.subplots(figsize=(7, 0.72 * len(rows) + 0.6))
    sides = 0
    for source, targets in without_implied(imports(list(place))).items():
        for target in sorted(targets, key=lambda name: (-place[name][1], place[name][0])):
            (x0, y0), (x1, y1) = place[source], place[target]
            near = y0 - y1 < 1.5 * STEP
            sides += not near
            side = 1 if sides % 2 else -1
            start, end = ((x0, y0 - HEIGHT / 2), (x1, y1 + HEIGHT / 2)) if near else (
                (x0 + side * WIDTH / 2, y0 - 0.1), (x1 + side * WIDTH / 2, y1 + 0.1)
            )  # fmt: skip
            bend = 0.0 if near else -side * 0.35
            axes.add_patch(
                FancyArrowPatch(
                    start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=11, lw=1.1,
                    color="#46627f", shrinkA=0, shrinkB=0, zorder=1,
                )
            )  # fmt: skip
    for name, (x, y) in place.items():
        _box(axes, x, y, WIDTH, name.removeprefix("stemfeatures."), "#eef3f8")
    low = -STEP * len(rows)
    names = ", ".join(name.removeprefix("stemfeatures.") for name in of_all)
    _box(axes, 0, low, 2 * APART, f"{names}: used by all", "#f6f1e4")
    axes.set_xlim(-2 * APART, 2 * APART)
    axes.set_ylim(low - 0.5, 0.6)
    axes.axis("off")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def _box(axes: plt.Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    corner, shape = (x - width / 2, y - HEIGHT / 2), "round,pad=0,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch(corner, width, HEIGHT, boxstyle=shape, fc=colour, ec="#46627f", zorder=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5, zorder=3)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "architecture.svg")
