"""How to segment; known to the dock before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from napari_unetpp.inference.layout import ArrayLike, Index, Region
from napari_unetpp.models.spec import Normalisation

SMALLEST_TILE = {2: 128, 3: 32}
"""In smaller tiles most pixels are near a side, and the result depends on the tiling."""


def pixel_size_along(lengths: Mapping[str, float], dims: int) -> tuple[float, ...] | None:
    """Lengths of a pixel along the axes of a plane or volume; None if one of them isn't known."""
    axes = "ZYX"[-dims:]
    return tuple(lengths[a] for a in axes) if all(a in lengths for a in axes) else None


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """How to segment.

    Attributes
    ----------
    depth : int, optional
        The deepest head wanted; by default the model's deepest.
    device : {"auto", "cuda", "mps", "cpu", "openvino"}
        Where; see `choose_device`.
    tile : int, optional
        Largest side of a tile in pixels of the network; by default what fits into memory, see
        `inference.memory`. It is halved when memory runs out.
    channels : tuple of int, optional
        For each channel of the model which of the image it sees; by default all in their order, or
        grey from colour.
    pixel_size : tuple of float, optional
        Lengths of a pixel along Z, Y and X in µm (or Y and X, for planes). Where the model knows
        its own, the image is brought to it, and the result back.
    normalisation : Normalisation, optional
        In place of the model's own.
    floats : bool
        Probabilities as float32 rather than uint8.
    indices : sequence of Index, optional
        Which planes or volumes, in this order; by default all.
    region : tuple of slice, optional
        Which part of each, with start and stop set; by default all.
    focus : tuple of float, optional
        The position from which tiles are done outwards.
    first_look : tuple of slice, optional
        A region of the first plane or volume of which the shallowest head is computed before all
        else, so that all of it is seen soon. It takes the time of that head once more.
    overview : array-like, optional
        The same image coarser, as the lower level of a pyramid: to tell the intensities of a large
        image from.
    is_shown : bool
        Whether a viewer of this process shows image and masks: on a CPU tiles leave room for them.
    """

    depth: int | None = None
    device: str = "auto"
    tile: int | None = None
    channels: tuple[int, ...] | None = None
    pixel_size: tuple[float, ...] | None = None
    normalisation: Normalisation | None = None
    floats: bool = False
    indices: Sequence[Index] | None = None
    region: Region | None = None
    focus: tuple[float, ...] | None = None
    first_look: Region | None = None
    overview: ArrayLike | None = None
    is_shown: bool = False
