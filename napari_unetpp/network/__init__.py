"""The network: tensors in, tensors out; it knows no files, no arrays and no screen."""

from napari_unetpp.network.blocks import Norm
from napari_unetpp.network.unetpp import UNetPlusPlus

__all__ = ["Norm", "UNetPlusPlus"]
