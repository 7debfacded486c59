"""When the memory of a run is given back: on the CPU not before the user has looked a while."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is imported in the thread of a run
    from napari_unetpp.inference.devices import Device

KEPT_FOR = 20.0
"""Seconds. With memory that is taken afresh, L1 of a view takes a sixth to a third longer."""


class Release:
    """Gives memory back some time after the last run, unless another one begins before."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def put_off(self) -> None:
        """A run begins: it takes what is there."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def begin(self, device: Device) -> None:
        """A run ended. A GPU has less memory, and others wait for it: that is given back now."""
        from napari_unetpp.inference.devices import release_memory

        self.put_off()
        if device.kind != "cpu":
            release_memory(device)
            return
        with self._lock:
            self._timer = threading.Timer(KEPT_FOR, release_memory, [device])
            self._timer.daemon = True
            self._timer.start()


RELEASE = Release()
"""Of this process."""
