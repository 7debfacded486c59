"""The network made fast for a device; that of the last run is kept, for the next plane or file."""

from __future__ import annotations

from napari_unetpp.inference import quantised
from napari_unetpp.inference.devices import Device, prepared
from napari_unetpp.inference.int8 import Int8Network
from napari_unetpp.inference.openvino_packages import OPENVINO
from napari_unetpp.models.file import Model
from napari_unetpp.network import UNetPlusPlus

Network = UNetPlusPlus | Int8Network
"""Both have `dims`, and give their heads one after the other by `heads`."""

_READY: dict[tuple[str, Device], Network] = {}


def ready(model: Model, device: Device) -> Network:
    """The network of a model, as fast as it can be made on a device."""
    key = (model.digest, device)
    network = _READY.get(key)  # looked up once: another viewer's run may clear it
    if network is None:
        if device.engine == OPENVINO:
            network = Int8Network(quantised.graph_file(model), model.spec)
        else:
            network = prepared(model.network, device)
        _READY.clear()
        _READY[key] = network
    return network


def forget() -> None:
    """Keep none: its memory is needed, or its device can't be used."""
    _READY.clear()
