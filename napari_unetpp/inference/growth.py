"""Keep a run on a CPU from taking more memory with each tile.

The allocator keeps what is freed, as it takes long to get memory anew (see
`devices.tune_allocator`). Small things that live on cut up what is free, so that the large tensors
of the next tile don't fit in and the process grows, though no more is in use: at L4 by a third from
the first tile to the second. What was given back doesn't count until it is used, wherever that is.
Given back after each tile it would all have to be got anew, a tenth of the time.
"""

from __future__ import annotations

import psutil

from napari_unetpp.inference.devices import Device, release_memory

ALLOWED = 64e6
"""Bytes that the process may grow by, beyond what one tile takes."""


class Growth:
    """Watches what the process holds, and gives back what is free when that has grown.

    Parameters
    ----------
    device : Device
        Where the run is.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._usual: int | None = resident()

    def check(self) -> None:
        """To be called after each tile."""
        if self._device.kind != "cpu":
            return
        held = resident()
        if self._usual is None:  # after the first tile since memory was given back
            self._usual = held
        elif held > self._usual + ALLOWED:
            release_memory(self._device)
            self._usual = None


def resident() -> int:
    """Bytes of memory that the process holds."""
    return int(psutil.Process().memory_info().rss)
