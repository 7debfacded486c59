"""Which channels the model sees: of the image, or layers beside it."""

from __future__ import annotations

from typing import Any

from napari.components import LayerList
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_unetpp.inference.layout import Layout
from napari_unetpp.widgets.layers_row import LayersRow
from napari_unetpp.widgets.sources import Sources

_COLOURS = ("red", "green", "blue", "alpha")


class ChannelRow(QWidget):
    """A box for each channel of the model; hidden where there is nothing to choose.

    Of an image with channels they offer these. A model of one channel then takes what is visible,
    or grey from colour, unless another is chosen. Of an image without, see `LayersRow`.

    Parameters
    ----------
    layers : LayerList
        The viewer's.
    parent : QWidget, optional
        As in Qt.
    """

    needed = Signal(bool)
    """Whether there is anything to choose now."""

    def __init__(self, layers: LayerList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.boxes: list[QComboBox] = []
        self.layers_row = LayersRow(layers)
        self._layers = layers
        self._wanted: tuple[Image | None, Layout | None, int] = (None, None, 1)
        self._offered: tuple[int, bool, int] | None = None
        self._row = QHBoxLayout()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._row)
        column.addWidget(self.layers_row)
        for event in self._events():
            event.connect(self._follow)

    @property
    def channels(self) -> tuple[int, ...] | None:
        """For each channel of the model which of the image; None as is usual for the two."""
        chosen = [box.currentData() for box in self.boxes]
        return None if not chosen or None in chosen else tuple(chosen)

    def sources(self, image: Image) -> Sources:
        """The layers that the model is to see: this one, or others with it."""
        return self.layers_row.sources(image)

    def offer(self, image: Image | None, layout: Layout | None, in_channels: int) -> None:
        """Have boxes for an image and a model; the choice stays where both are of the same kind.

        Without a layout, as when the axes don't fit, there is nothing to choose.
        """
        self._wanted = image, layout, in_channels
        self._offer_channels(layout, in_channels)
        alone = layout is not None and "C" not in layout.axes
        self.layers_row.offer(image if alone else None, in_channels)
        self.layers_row.setVisible(self.layers_row.is_needed)
        is_needed = bool(self.boxes) or self.layers_row.is_needed
        self.setVisible(is_needed)
        self.needed.emit(is_needed)

    def disconnect_layers(self) -> None:
        """Let go of the layer list, before the row is thrown away."""
        for event in self._events():
            event.disconnect(self._follow)
        self.layers_row.disconnect_layers()

    def _follow(self, _: object = None) -> None:
        self.offer(*self._wanted)

    def _events(self) -> tuple[Any, ...]:
        """What is told when other layers are there, or in another order."""
        events = self._layers.events
        return events.inserted, events.removed, events.reordered

    def _offer_channels(self, layout: Layout | None, in_channels: int) -> None:
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
