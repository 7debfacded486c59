"""A box with the viewer's layers of one kind; it follows the layer list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.components import LayerList
from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget


class LayerBox(QComboBox):
    """Choose a layer of the viewer.

    Parameters
    ----------
    layers : LayerList
        The viewer's.
    kind : type of Layer
        Which layers to offer.
    offer : callable, optional
        Says of such a layer whether it is to be offered.
    none : str
        What stands first, for no layer; by default there is no such choice.
    parent : QWidget, optional
        As in Qt.
    """

    layer_changed = Signal(object)
    """The chosen layer, or None."""

    def __init__(
        self,
        layers: LayerList,
        kind: type[Layer],
        offer: Callable[[Layer], bool] = lambda layer: True,
        none: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._layers = layers
        self._kind, self._offer, self._none = kind, offer, none
        self._offered: list[Layer] = []
        self._last: Layer | None = None
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            event.connect(self._follow)
        self.currentIndexChanged.connect(self._tell)
        self._follow()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.currentIndex() - bool(self._none)
        return self._offered[index] if 0 <= index < len(self._offered) else None

    @layer.setter
    def layer(self, layer: Layer) -> None:
        if layer not in self._offered:  # napari tells others of a new layer first
            self._follow()
        self._choose(layer)

    def choose_next(self) -> None:
        """Choose the layer after this one; after the last, the first."""
        if self._offered:
            self.setCurrentIndex((self.currentIndex() + 1) % len(self._offered))

    def disconnect_layers(self) -> None:
        """Let go of the layer list, before the box is thrown away."""
        for event in (
            self._layers.events.inserted,
            self._layers.events.removed,
            self._layers.events.reordered,
        ):
            event.disconnect(self._follow)
        for layer in self._offered:
            layer.events.name.disconnect(self._follow)

    def _follow(self, event: Any = None) -> None:
        chosen = self.layer
        for layer in self._offered:
            layer.events.name.disconnect(self._follow)
        self._offered = [
            layer for layer in self._layers if isinstance(layer, self._kind) and self._offer(layer)
        ]
        for layer in self._offered:
            layer.events.name.connect(self._follow)
        self.blockSignals(True)
        self.clear()
        self.addItems([*([self._none] if self._none else []), *(x.name for x in self._offered)])
        if chosen in self._offered:
            self._choose(chosen)
        elif self._offered and not self._none:
            self._choose(self._offered[-1])  # the newest
        self.blockSignals(False)
        self._tell()

    def _choose(self, layer: Layer) -> None:
        self.setCurrentIndex(self._offered.index(layer) + bool(self._none))

    def _tell(self, index: int = 0) -> None:
        if self.layer is not self._last:
            self._last = self.layer
            self.layer_changed.emit(self.layer)
