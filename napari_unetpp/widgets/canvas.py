"""What napari draws on."""

from __future__ import annotations

from qtpy.QtWidgets import QMainWindow, QWidget


def canvas_beside(widget: QWidget) -> tuple[int, int] | None:
    """Height and width of what napari draws on; None for a widget that isn't in its window."""
    window = widget.window()
    shown = window.centralWidget() if isinstance(window, QMainWindow) else None
    return None if shown is None else (shown.height(), shown.width())
