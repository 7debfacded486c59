"""The sign in napari's status bar that something is going on."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel, QWidget

SLOWLY = 10
"""Percent of its own speed: about three pictures a second."""
AS_EVER = 100


def turn_spinner(window: QWidget | None, speed: int) -> None:
    """Let the pictures of a window move at another speed.

    With each picture Qt puts the whole window together anew. Where that is done by the CPU, as on
    remote desktops, it takes two fifths of the time from the network, which computes on the same
    cores (measured by `benchmarks view` with two of them).

    Parameters
    ----------
    window : QWidget, optional
        napari's.
    speed : int
        In percent.
    """
    for label in window.findChildren(QLabel) if window else ():
        if (movie := label.movie()) is not None:
            movie.setSpeed(speed)
