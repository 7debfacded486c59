"""What fine-tuning gains, drawn from the log of `finetune`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.finetune import HEADS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"L1": "#d9a400", "L2": "#e8702a", "L3": "#e01e5a", "L4": "#0a9fc2"}
"""Those of the dock, darker, for a white page."""
CASES = {"em": "membranes (EM)", "h&e": "nuclei in H&E", "embryo": "embryo nuclei"}
GREY = "#777777"

Result = Mapping[str, Any]


def draw(log: Path, output: Path) -> None:
    """Two rows of plots: IoU elsewhere by corrected planes, and on held-out places by time."""
    from matplotlib import pyplot as plt

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    before = {(line["model"], line["before"]): line["ious"] for line in lines if "before" in line}
    results = [line for line in lines if "trial" in line]
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "finetune", "font.size": 9}
    figure, axes = plt.subplots(2, len(CASES), figsize=(10, 6), layout="constrained")
    for (above, below), (case, words) in zip(axes.T, CASES.items(), strict=True):
        of_case = [result for result in results if result["trial"]["case"] == case]
        plain = [result for result in of_case if is_plain(result["trial"])]
        gained(above, plain, before)
        above.set_title(words)
        most = max(result["trial"]["corrected"] for result in plain)
        learning(below, [r for r in of_case if r["trial"]["corrected"] == most])
    axes[0, 0].set_ylabel("IoU on planes not corrected")
    axes[1, 0].set_ylabel("best head's IoU, held out")
    axes[0, 0].legend(frameon=False)
    axes[1, 0].legend(frameon=False)
    figure.savefig(output, metadata={"Date": None})


def is_plain(trial: Result) -> bool:
    """Whether a trial is as a user's is by default."""
    varied = trial["fit"] or trial["depth"] or trial["earlier"] or trial["also"] or trial["seed"]
    return not varied and trial["start"] == "model" and trial["paint"] == "planes"


def gained(axes: Axes, results: Sequence[Result], before: Mapping[Any, Any]) -> None:
    """IoU of each head against the number of corrected planes, from none."""
    for head in HEADS:
        points = {
            result["trial"]["corrected"]: result["after"][head]
            for result in results
            if head in result["after"]
        }
        first = before[results[0]["model"], results[0]["trial"]["case"]][head]
        counts = sorted(points)
        values = [first, *(points[count] for count in counts)]
        axes.plot([0, *counts], values, "o-", color=COLOURS[head], label=head)
    axes.set_xlabel("planes corrected")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)


def learning(axes: Axes, results: Sequence[Result]) -> None:
    """The best head's IoU on held-out places by the time, by what is trained."""
    for result in results:
        trial = result["trial"]
        is_depth = is_plain(trial | {"depth": None})
        if not is_depth and trial["start"] != "nothing":
            continue
        curve = [(t, max(s["held out"].values())) for t, s in result["curve"] if "held out" in s]
        head = f"L{result['heads']}"
        style = {"color": COLOURS[head], "label": f"to {head}"}
        if trial["start"] == "nothing":
            style = {"color": GREY, "label": f"to {head}, from random weights"}
        axes.plot(*zip(*curve, strict=True), **style)
    axes.set_xlabel("seconds")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
