"""Which channels of the image the model sees."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QWidget

from napari_unetpp.inference.layout import Layout

_COLOURS = ("red", "green", "blue", "alpha")


class ChannelRow(QWidget):
    """A box for each channel of the model, with the channels of the image; hidden without any.

    A model of one channel takes what is visible, or grey from colour, unless another is chosen.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.boxes: list[QComboBox] = []
        self._offered: tuple[int, bool, int] | None = None
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)

    @property
    def channels(self) -> tuple[int, ...] | None:
        """For each channel of the model which of the image; None as is usual for the two."""
        chosen = [box.currentData() for box in self.boxes]
        return None if not chosen or None in chosen else tuple(chosen)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to choose."""
        return bool(self.boxes)

    def offer(self, layout: Layout | None, in_channels: int) -> None:
        """Have boxes for an image and a model; the choice stays where both are of the same kind."""
        there = 1 if layout is None else layout.channels
        wanted = (there, layout is not None and layout.is_colour, in_channels)
        if wanted == self._offered:
            return
        self._offered = wanted
        for box in self.boxes:
            self._row.removeWidget(box)
            box.deleteLater()
        self.boxes = []
        if there > 1 and there >= in_channels:
            names = _COLOURS[:there] if wanted[1] else [str(n) for n in range(there)]
            several, usual = in_channels > 1, "grey" if wanted[1] else "visible"
            for number in range(in_channels):
                box = _box(names, None if several else usual)
                box.setCurrentIndex(number if several else 0)
                self._row.addWidget(box)
                self.boxes.append(box)


def _box(names: tuple[str, ...] | list[str], usual: str | None) -> QComboBox:
    box = QComboBox()
    if usual is not None:
        box.addItem(usual, None)
    for number, name in enumerate(names):
        box.addItem(name, number)
    box.setToolTip("Channel of the image that the model sees")
    return box
