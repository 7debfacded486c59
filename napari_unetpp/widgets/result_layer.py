"""One layer that shows something made from the heads, and is left alone once the user paints it."""

from __future__ import annotations

import threading
import time
from functools import partial
from math import prod
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

from napari_unetpp.inference.layout import Dims
from napari_unetpp.inference.room import room_for
from napari_unetpp.widgets.spanning import with_axis, without_axis

Block = tuple[int | slice, ...]

DERIVED = ("ensemble", "disagreement", "instances")
"""What is shown besides the heads themselves."""
COLOURS = {
    "L1": "#ffd23f",
    "L2": "#ff8c42",
    "L3": "#ff3c7d",
    "L4": "#21d4fd",
    "ensemble": "#7bed6b",
}
"""Warm to cold with depth."""
OTHER_COLOURS = ("#b388ff", "#8be9fd", "#f1fa8c", "#ffb86c")
"""Heads deeper than L4, and further classes."""

OUTLINE = 2
"""Pixels. Heads lie on one another: filled they would mix to grey, as outlines each is seen."""
LARGEST_OUTLINED = 2048 * 2048
"""Pixels of a plane; beyond, napari takes too long to find the outlines."""
QUICKLY_COMPARED = 1 << 24
"""Pixels of a layer that can be compared while the user drags the threshold."""
DRAW_EVERY = 0.1
"""Seconds between redraws of a layer that is being filled."""


KEPT = 20
"""Chunks on the disk that are kept in memory, of each array: a tile is filled row by row."""
COARSEST = 1024
"""Pixels along the longer side of the coarsest level."""


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
    dims : {2, 3}
        How many axes a plane or volume has.
    in_memory : bool
        Whether it is kept there, or on the disk.
    pyramid : bool
        Whether it is shown by levels, each half as large as the one before; napari can't paint
        such a layer.
    spanned : int, optional
        Where the layer has an axis for the channels of its image, see `geometry.spanned_axis`.
    aside : bool
        Whether it is hidden at first if it is filled: what is hidden, napari keeps no copy of.

    Attributes
    ----------
    layer : Labels or Image
        The napari layer.
    is_outlined : bool
        Whether outlines are shown, so that others are seen through it; else it is filled.
    can_be_painted : bool
        Whether napari lets the user paint it.
    predicted, filled : array
        Shape of the layer, if it can be painted: what was written to it, and where that was
        computed. What the layer has now and `predicted` hasn't, the user painted.
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
        dims: Dims = 2,
        in_memory: bool = True,
        pyramid: bool = False,
        spanned: int | None = None,
        aside: bool = False,
    ) -> None:
        self.key = key
        self.lock = threading.Lock()  # another thread compares the layer with the prediction
        self.painted = False
        self.stale = False  # what is on screen was filled since napari last drew it
        self.drawn = 0.0  # when that was, as time.perf_counter() counts
        self._wait = DRAW_EVERY
        self._flat = True
        dtype = np.int32 if key == "instances" else np.uint8
        room = partial(room_for, dims=dims, in_memory=in_memory, kept=KEPT)
        self.can_be_painted = not pyramid
        if self.can_be_painted:
            self.predicted, self.filled = room(shape, dtype), room(shape, bool)
        else:  # nobody asks for them
            self.predicted, self.filled = np.zeros(1, dtype), np.zeros(1, bool)
        self._spanned = spanned
        shapes = level_shapes(shape) if pyramid else [shape]
        levels = [room(with_axis(each, spanned), dtype) for each in shapes]
        self.levels = [without_axis(level, spanned) for level in levels]
        data = levels if pyramid else levels[0]
        of_heads = key not in ("disagreement", "instances")
        self.is_outlined = of_heads and shape[-2] * shape[-1] <= LARGEST_OUTLINED and not pyramid
        visible = self.is_outlined or not aside
        common = {"name": name, "metadata": metadata, "visible": visible, **place}
        self.layer: Labels | Image
        if key == "disagreement":
            self.layer = Image(
                data,
                colormap="inferno",
                contrast_limits=(0, 255),
                blending="additive",
                opacity=0.8,
                **common,
            )
        elif key == "instances":
            self.layer = Labels(data, opacity=0.6, **common)
        else:
            self.layer = Labels(
                data,
                colormap=_colormap(key, classes),
                opacity=0.9 if self.is_outlined else 0.45,
                **common,
            )
        if isinstance(self.layer, Labels):
            self.layer.events.paint.connect(self._on_change)
        self.layer.events.data.connect(self._on_change)

    @property
    def pixels(self) -> Any:
        """What the layer has, at full size: an array of numpy or zarr."""
        data = self.layer.data[0] if self.layer.multiscale else self.layer.data
        return without_axis(data, self._spanned)

    def write(self, block: Block, values: NDArray[Any], computed: NDArray[Any]) -> bool:
        """Show new values in a block; False, and nothing done, if the user changed the layer.

        `computed` says where the values mean something; elsewhere there is nothing yet.
        """
        if self.painted or not self.is_as_written(block):
            self.painted = True
            return False
        with self.lock:
            self.pixels[block] = values
            if self.can_be_painted:
                self.predicted[block] = values
                self.filled[block] = computed
            for number in range(1, len(self.levels)):
                _fill_level(self.levels[number], values, block, 2**number)
        return True

    def check_painted(self) -> bool:
        """Whether the user changed the layer, by brush, by new data, or by a script.

        Each pixel is looked at where that is quick. In large layers what a script does to the
        array itself is noticed when that place is to be written; it is never overwritten.
        """
        if not self.painted and prod(self.predicted.shape) <= QUICKLY_COMPARED:
            self.painted = not self.is_as_written((slice(None),) * len(self.predicted.shape))
        return self.painted

    def is_as_written(self, block: Block) -> bool:
        """Whether nobody changed a block of the layer since it was filled."""
        if not self.can_be_painted:
            return True
        return bool(np.array_equal(self.pixels[block], self.predicted[block]))

    def draw(self, *, final: bool) -> None:
        """Let napari draw what was written, unless it has just done so and there is more to come.

        A large plane takes long to draw: it is drawn less often, so that a fifth of the time at
        the most goes into it.
        """
        if not final and time.perf_counter() - self.drawn < self._wait:
            return
        self.stale = False
        started = time.perf_counter()
        if self.is_outlined and self._flat and self.drawn == 0:
            # Not before the first time: napari looks for outlines when it adds a layer, too.
            self.layer.contour = OUTLINE
        else:
            self.layer.refresh(thumbnail=final, extent=False, highlight=False)
        self.drawn = time.perf_counter()
        self._wait = max(DRAW_EVERY, 5 * (self.drawn - started))

    def show_outline(self, flat: bool) -> None:
        """Outlines on flat planes, if these aren't too large; napari has none in 3D."""
        self._flat = flat
        if self.is_outlined and self.drawn:
            self.layer.contour = OUTLINE if flat else 0

    def let_go(self) -> None:
        """Listen to the layer no more."""
        if isinstance(self.layer, Labels):
            self.layer.events.paint.disconnect(self._on_change)
        self.layer.events.data.disconnect(self._on_change)

    def _on_change(self) -> None:
        self.painted = True


def level_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of the levels of a pyramid over the last two axes, down to what a screen shows."""
    shapes = [shape]
    while max(shapes[-1][-2:]) > COARSEST:
        shapes.append((*shape[:-2], *(-(-n // 2 ** len(shapes)) for n in shape[-2:])))
    return shapes


def _fill_level(level: Any, values: NDArray[Any], block: Block, step: int) -> None:
    """Every so many pixels of a block, those that lie on the level's grid."""
    key, taken = list(block), [slice(None)] * values.ndim
    for axis in (-2, -1):
        part = block[axis]
        assert isinstance(part, slice)
        skipped = -part.start % step
        key[axis] = slice(-(-part.start // step), -(-part.stop // step))
        taken[axis] = slice(skipped, None, step)
    level[tuple(key)] = values[tuple(taken)]


def _colormap(key: str, classes: int) -> CyclicLabelColormap:
    """A colour for each class; the usual direct colormap would be compiled first, for a second."""
    first = COLOURS.get(key, OTHER_COLOURS[0])
    # One more than the model has: a user may paint a new class.
    others = (OTHER_COLOURS[n % len(OTHER_COLOURS)] for n in range(1, classes + 1))
    return CyclicLabelColormap(colors=["transparent", first, *others])
