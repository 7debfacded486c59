"""One tile through the network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unetpp.inference.devices import Device, alone_on, memory_format
from napari_unetpp.inference.ready import Network


def probabilities(
    network: Network, tile: NDArray[np.float32], depth: int, device: Device
) -> Iterator[NDArray[np.float32]]:
    """Probabilities of each head, one after the other.

    Parameters
    ----------
    network : Network
        Made ready for the device.
    tile : array of float32
        Normalised; ``(c, *spatial)``.
    depth : int
        The deepest head.
    device : Device
        Where.

    Yields
    ------
    array of float32
        0 to 1; ``(class, *spatial)``.
    """
    with alone_on(device.kind), torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(tile))[None]
        batch = batch.to(device.kind, device.dtype)
        batch = batch.to(memory_format=memory_format(network.dims, device.kind))
        heads = network.heads(batch, depth)
    while True:
        # Neither must stay on while the caller has control.
        with alone_on(device.kind), torch.inference_mode():
            logits = next(heads, None)
            if logits is None:
                return
            found = logits[0].float().sigmoid().cpu().numpy()
        yield found
