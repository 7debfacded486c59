"""The network: tensors in, tensors out; it knows no files, no arrays and no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unetpp.network.architecture import Architecture

if TYPE_CHECKING:
    from napari_unetpp.network.unetpp import UNetPlusPlus

__all__ = ["Architecture", "UNetPlusPlus"]


def __getattr__(name: str) -> Any:
    """Bring torch when the network is asked for: what one is made of is known without."""
    if name == "UNetPlusPlus":
        from napari_unetpp.network.unetpp import UNetPlusPlus

        return UNetPlusPlus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
