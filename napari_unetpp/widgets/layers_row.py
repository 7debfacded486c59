"""Which layers are the channels, where each channel is a layer of its own."""

from __future__ import annotations

from napari.components import LayerList
from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_unetpp.widgets.layer_box import LayerBox
from napari_unetpp.widgets.sources import (
    Sources,
    matches,
    mean_as_shown,
    single_channels,
)

ALONE, MEAN = "this layer", "mean of the visible layers"


class LayersRow(QWidget):
    """For a model of one channel, a choice of this layer or the mean of all; else a box for each.

    Hidden where there is just one layer that the image could be made of.

    Parameters
    ----------
    layers : LayerList
        The viewer's.
    parent : QWidget, optional
        As in Qt.
    """

    def __init__(self, layers: LayerList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers = layers
        self._image: Image | None = None
        self.is_chosen = False  # by the user; until then it follows the layers
        self.how = QComboBox()
        self.how.addItems([ALONE, MEAN])
        self.how.setToolTip(
            "The model sees one channel: this layer, or the mean of this and the other visible\n"
            "image layers, each as bright as it is shown"
        )
        self.boxes: list[LayerBox] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        self._column.addWidget(self.how)
        self.how.hide()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to choose."""
        return bool(self.boxes) or not self.how.isHidden()

    def sources(self, image: Image) -> Sources:
        """What the model is to see."""
        if self.boxes:
            layers = [box.layer for box in self.boxes]
            return Sources(tuple(layer for layer in layers if isinstance(layer, Image)))
        if self.how.isHidden() or self.how.currentText() == ALONE:
            return Sources((image,))
        others = [layer for layer in single_channels(self._layers) if layer.visible]
        return mean_as_shown((image, *(layer for layer in others if layer is not image)))

    def offer(self, image: Image | None, in_channels: int) -> None:
        """Offer the layers beside an image; None if it has channels of its own."""
        there = single_channels(self._layers) if image is not None else []
        fitting = [layer for layer in there if image is not None and matches(image, layer)]
        if image is not self._image:
            self._image, self.is_chosen = image, False
            self.how.setCurrentText(ALONE)
        self.how.setVisible(in_channels == 1 and len(fitting) > 1)
        wanted = in_channels if in_channels > 1 and len(there) > 1 else 0
        if wanted != len(self.boxes):
            self._make_boxes(wanted)
        if wanted and image is not None and not self.is_chosen:
            self._suggest(image, fitting)

    def disconnect_layers(self) -> None:
        """Let go of the layer list, before the row is thrown away."""
        self._make_boxes(0)

    def _make_boxes(self, count: int) -> None:
        for box in self.boxes:
            box.disconnect_layers()
            self._column.removeWidget(box)
            box.deleteLater()
        self.boxes, self.is_chosen = [], False
        for number in range(count):
            box = LayerBox(self._layers, Image, lambda layer: bool(single_channels([layer])))
            box.setToolTip(f"The layer that is channel {number} of the model")
            box.activated.connect(self._on_choice)
            self._column.addWidget(box)
            self.boxes.append(box)

    def _suggest(self, image: Image, fitting: list[Image]) -> None:
        """Layers in their order in the list, as napari splits channels; this one among them."""
        start = max(0, min(fitting.index(image), len(fitting) - len(self.boxes)))
        for box, layer in zip(self.boxes, fitting[start:], strict=False):
            box.layer = layer

    def _on_choice(self) -> None:
        self.is_chosen = True
