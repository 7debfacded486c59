"""Which measure of uncertainty is to be believed, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_unetpp.evaluation.uncertainty import Uncertainty

COLOURS = ("#0a9fc2", "#e01e5a", "#d9a400", "#777777")
FEWEST = 1000
"""Pixels: a range that has fewer isn't drawn."""


def draw(found: Mapping[str, Uncertainty], output: Path, title: str) -> None:
    """Two plots: how much is wrong where a measure is so high, and how soon it finds what is wrong.

    Parameters
    ----------
    found : mapping of str to Uncertainty
        The measures by name, over pixels.
    output : Path
        The drawing, an .svg file.
    title : str
        Of which images.
    """
    from matplotlib import pyplot as plt

    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "uncertainty", "font.size": 9}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    shares = np.linspace(0, 0.2, 101)
    for (name, one), colour in zip(found.items(), COLOURS, strict=True):
        rows = [(middle, wrong) for middle, wrong, pixels in one.reliability() if pixels >= FEWEST]
        left.plot(*zip(*rows, strict=True), "o-", color=colour, label=name, markersize=4)
        label = f"area under the ROC curve {one.area:.3f}"
        right.plot(100 * shares, [100 * one.found(s) for s in shares], color=colour, label=label)
    left.set_xlabel("the measure, 0 to 1")
    left.set_ylabel("share of pixels that L4 has wrong")
    left.legend(frameon=False)
    right.set_xlabel("least sure pixels that are looked at, %")
    right.set_ylabel("of all wrong pixels, those among them, %")
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_title(title, fontsize=9)
    figure.savefig(output, metadata={"Date": None})
