"""What the plots of the dock have in common."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QWidget

GREY = "#9aa0a6"
"""Seen on dark and on light."""


def make_quiet(plot: Any, owner: QWidget) -> None:
    """Have a pyqtgraph plot without menu, buttons and mouse, in grey, that goes with `owner`."""
    plot.setMenuEnabled(False)
    menu = plot.ctrlMenu  # has no parent, so nobody would delete it
    menu.setParent(owner, menu.windowFlags())
    plot.hideButtons()
    plot.setMouseEnabled(x=False, y=False)
    for side in ("left", "bottom"):
        plot.getAxis(side).enableAutoSIPrefix(False)
        plot.getAxis(side).setPen(GREY)
        plot.getAxis(side).setTextPen(GREY)
