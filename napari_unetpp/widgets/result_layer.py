"""One layer that shows something made from the heads, and is left alone once the user paints it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

Blocks = tuple[int | slice, ...]

DERIVED = ("ensemble", "disagreement", "instances")
"""What is shown besides the heads themselves."""
COLOURS = {
    "L1": "#ffd23f",
    "L2": "#ff8c42",
    "L3": "#ff3c7d",
    "L4": "#21d4fd",
    "ensemble": "#7bed6b",
}
"""Warm to cold with depth, apart for colour-blind eyes too (checked by lightness: 0.84 to 0.60)."""
OTHER_COLOURS = ("#b388ff", "#8be9fd", "#f1fa8c", "#ffb86c")
"""Heads deeper than L4, and further classes."""

OUTLINE = 2
"""Pixels. Heads lie on one another: filled they would mix to grey, as outlines each is seen."""


class ResultLayer:
    """A napari layer filled block by block.

    Parameters
    ----------
    key : str
        What it shows: "L1" …, "ensemble", "disagreement" or "instances".
    name : str
        Of the layer.
    shape : tuple of int
        The spatial axes of the heads.
    classes : int
        Of the model, for the colours.
    place : dict
        Keyword arguments that put it where the image is.
    metadata : dict
        What made it.
    """

    def __init__(
        self,
        key: str,
        name: str,
        shape: tuple[int, ...],
        *,
        classes: int,
        place: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        self.key = key
        self.painted = False
        self.stale = False  # what is on screen was filled since napari last drew it
        self.drawn = 0.0  # when that was, as time.perf_counter() counts
        dtype = np.int32 if key == "instances" else np.uint8
        self._written = np.zeros(shape, dtype)
        common = {"name": name, "metadata": metadata, **place}
        self.layer: Labels | Image
        if key == "disagreement":
            self.layer = Image(
                np.zeros(shape, dtype),
                colormap="inferno",
                contrast_limits=(0, 255),
                blending="additive",
                opacity=0.8,
                **common,
            )
        elif key == "instances":
            self.layer = Labels(np.zeros(shape, dtype), opacity=0.6, **common)
        else:
            self.layer = Labels(
                np.zeros(shape, dtype), colormap=_colormap(key, classes), opacity=0.9, **common
            )
            self.layer.contour = OUTLINE
        if isinstance(self.layer, Labels):
            self.layer.events.paint.connect(self._on_paint)
        self.layer.events.data.connect(self._on_data)

    def write(self, block: Blocks, values: NDArray[Any]) -> bool:
        """Show new values in a block; False, and nothing done, if the user changed the layer."""
        if self.painted or not self._as_written(block):
            self.painted = True
            return False
        self.layer.data[block] = values
        self._written[block] = values
        return True

    def check_painted(self) -> bool:
        """Whether the user changed anything, by brush or by script; looks at every pixel."""
        everything = (slice(None),) * self._written.ndim
        self.painted = self.painted or not self._as_written(everything)
        return self.painted

    def draw(self, *, thumbnail: bool) -> None:
        """Let napari draw what was written since the last time, in the layer list too or not."""
        self.stale = False
        self.drawn = time.perf_counter()
        self.layer.refresh(thumbnail=thumbnail, extent=False, highlight=False)

    def _as_written(self, block: Blocks) -> bool:
        return bool(np.array_equal(self.layer.data[block], self._written[block]))

    def _on_paint(self) -> None:
        self.painted = True

    def _on_data(self) -> None:
        if self.layer.data.shape != self._written.shape:
            self.painted = True  # replaced as a whole


def _colormap(key: str, classes: int) -> CyclicLabelColormap:
    """A colour for each class; the usual direct colormap would be compiled first, for a second."""
    first = COLOURS.get(key, OTHER_COLOURS[0])
    others = (OTHER_COLOURS[n % len(OTHER_COLOURS)] for n in range(1, classes))
    return CyclicLabelColormap(colors=["transparent", first, *others])
