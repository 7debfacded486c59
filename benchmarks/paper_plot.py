"""How good and how fast the networks of the papers are, drawn from what `paper` wrote down."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.paper import CONTESTANTS, DEEPEST, LOG, TIMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#777777", "#b08d57", "#5b8c5a", "#0a9fc2", "#e01e5a")
Ious = Mapping[tuple[str, str], list[float]]
Times = Mapping[str, Mapping[str, float]]


def draw(folder: Path, output: Path) -> None:
    """Two plots: IoU by the time for a megapixel, and what pruning costs and gains."""
    from matplotlib import pyplot as plt

    ious: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in (folder / LOG).read_text().splitlines():
        entry = json.loads(line)
        for head, scores in entry["scores"].items():
            ious[entry["trial"]["network"], head].append(100 * scores["all"]["iou"])
    measured = json.loads((folder / TIMES).read_text())
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "paper", "font.size": 9}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    price(left, ious, measured["times"])
    left.set_xlabel(f"ms a megapixel ({measured['where']})")
    pruned(right, ious, measured["times"])
    figure.savefig(output, metadata={"Date": None})


def price(axes: Axes, ious: Ious, times: Times) -> None:
    """A dot for each head of each network, a bar from the worst seed to the best."""
    for (name, _), colour in zip(CONTESTANTS.items(), COLOURS, strict=True):
        heads = [head for head in times.get(name, {}) if (name, head) in ious]
        if not heads:
            continue
        x = [times[name][head] for head in heads]
        y = [mean(ious[name, head]) for head in heads]
        below = [value - min(ious[name, head]) for value, head in zip(y, heads, strict=True)]
        above = [max(ious[name, head]) - value for value, head in zip(y, heads, strict=True)]
        axes.errorbar(x, y, (below, above), fmt="o", color=colour, label=name, capsize=3)
        if len(heads) == 1:
            continue
        axes.plot(x[:DEEPEST], y[:DEEPEST], "-", color=colour, alpha=0.4)
        for head, left, top in zip(heads, x, y, strict=True):
            axes.annotate(head, (left, top), (4, -10), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")
    axes.margins(x=0.12)
    axes.set_ylabel("IoU on test, %")
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)


def pruned(axes: Axes, ious: Ious, times: Times) -> None:
    """IoU lost against L4, and how many times as fast, for each head of the supervised UNet++."""
    *_, name = CONTESTANTS
    deepest = f"L{DEEPEST}"
    heads = [f"L{k}" for k in range(1, DEEPEST + 1) if (name, f"L{k}") in ious]
    faster = [times[name][deepest] / times[name][head] for head in heads]
    lost = [mean(ious[name, deepest]) - mean(ious[name, head]) for head in heads]
    axes.plot(faster, lost, "o-", color=COLOURS[-1])
    for head, left, top in zip(heads, faster, lost, strict=True):
        axes.annotate(head, (left, top), (5, 5), textcoords="offset points")
    axes.set_xlabel(f"times as fast as {deepest}")
    axes.set_ylabel(f"IoU points lost against {deepest}")
    axes.set_title(f"{name}, pruned", fontsize=9)
    axes.margins(0.1)
    axes.grid(alpha=0.3)
