"""What a run tells of itself, head by head and tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unetpp.inference.devices import Device
from napari_unetpp.inference.layout import Index, Region


@dataclass(frozen=True)
class TileEvent:
    """A head of one tile is in `Heads`, blended with its neighbours so far.

    Attributes
    ----------
    head : int
        Its number, like 1 for L1; 0 where a tile could not be read, as `notice` says, and while
        the network is prepared.
    index : Index
        Of the plane or volume.
    region : tuple of slice
        Where in it.
    fraction : float
        How much of all the work is done, 0 to 1.
    device : Device
        Where it was computed.
    notice : str
        A sentence for the user if something had to give way, like the tile size; else empty.
    preparing : str
        What is being done before the first tile, where that takes long; else empty.
    """

    head: int
    index: Index
    region: Region
    fraction: float
    device: Device
    notice: str = ""
    preparing: str = ""

    @property
    def is_left_out(self) -> bool:
        """Whether it tells of a tile that could not be read."""
        return self.head == 0 and not self.preparing
