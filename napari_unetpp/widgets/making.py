"""Makes the napari layer of a head, or of what follows from the heads, and puts it on top."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_unetpp.inference.heads import Heads
from napari_unetpp.widgets.geometry import METADATA_KEY, place_like, size_in_words, spanned_axis
from napari_unetpp.widgets.result_layer import ResultLayer

LARGEST_FLAT = 8192
"""Pixels along a side that are shown, and can be painted, as one level."""


def make_layer(
    key: str,
    viewer: ViewerModel,
    image: Image,
    heads: Heads,
    described: dict[str, Any],
    *,
    aside: bool = False,
) -> ResultLayer:
    """An empty layer that lies on its image, in the viewer.

    Parameters
    ----------
    key : str
        What it shows, as in `ResultLayer`.
    viewer : ViewerModel
        Where it goes.
    image : Image
        What was segmented.
    heads : Heads
        What there is of it.
    described : dict
        What made it, with the level of the image and the model.
    aside : bool
        As in `ResultLayer`.
    """
    layout, level = heads.layout, described["level"]
    made = ResultLayer(
        key,
        _name(key, viewer, image, described),
        layout.result_shape,
        classes=heads.values.shape[1],
        place=place_like(image, layout, level),
        in_memory=heads.in_memory,
        pyramid=_needs_pyramid(heads),
        spanned=spanned_axis(image, layout),
        dims=layout.dims,
        aside=aside,
        metadata={METADATA_KEY: described},
    )
    made.show_outline(viewer.dims.ndisplay == 2)
    _put_on_top(viewer, made.layer)
    return made


def _put_on_top(viewer: ViewerModel, layer: Layer) -> None:
    """The user goes on with what they had in hand."""
    layers, selected = viewer.layers, set(viewer.layers.selection)
    if len(selected) == 1:  # nothing changes: napari needn't show other controls meanwhile
        with layers.selection.events.blocker_all():
            layers.append(layer)
            layers.selection = selected
    else:
        layers.append(layer)
        if selected:
            layers.selection = selected


def _needs_pyramid(heads: Heads) -> bool:
    """Planes too large for a graphics card are shown as the image is, by levels."""
    large = max(heads.layout.spatial_shape[-2:]) > LARGEST_FLAT
    return large and heads.layout.dims == 2 and heads.axes.endswith("YX")


def _name(key: str, viewer: ViewerModel, image: Image, described: dict[str, Any]) -> str:
    """With the model where the name alone is taken, as by the masks of another one."""
    level = described["level"]
    size = f" · {size_in_words(image, level)}" if level else ""
    name = f"{image.name}{size} · {key}"
    return f"{name} · {described['model']}" if name in viewer.layers else name
