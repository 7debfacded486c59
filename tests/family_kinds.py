"""Networks of the family in which every kind of every part is there at least once."""

import pytest

from napari_unetpp.network import Architecture

EACH = [
    Architecture(skip="none", up="unpooling"),
    Architecture(skip="plain"),
    Architecture(skip="plain", block="dense", down="average", up="sub-pixel"),
    Architecture(skip="unet+", block="residual", down="strided", up="nearest"),
    Architecture(skip="aggregation", down="l2", up="sub-pixel"),
    Architecture(block="grouped", groups=2, up="unpooling"),
    Architecture(down="dilated", up="none"),
]
each = pytest.mark.parametrize("architecture", EACH, ids=Architecture.in_words)
