"""An image is taken apart into planes or volumes, whatever the order of its axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Layout

LENGTHS = {"T": 2, "Z": 3, "C": 4, "Y": 5, "X": 6}


@pytest.mark.parametrize("dims", [2, 3])
@given(st.permutations("TZCYX"), st.data())
def test_what_is_read_by_regions_is_where_it_was(dims, axes, data):
    axes = "".join(axes)
    image = np.random.default_rng(0).random([LENGTHS[a] for a in axes])
    layout = Layout.of(image, axes, dims=dims)
    usual = image.transpose([axes.index(a) for a in "TZCYX"])
    for index in layout.indices():
        region = tuple(
            slice(start := data.draw(st.integers(0, n - 1)), data.draw(st.integers(start + 1, n)))
            for n in layout.spatial_shape
        )
        found = layout.take(image, index, region)
        place = dict(zip(layout.outer_axes, index, strict=True))
        place |= zip(layout.spatial_axes, region, strict=True)
        wanted = usual[tuple(place.get(a, slice(None)) for a in "TZCYX")]
        if dims == 3:
            wanted = wanted.transpose(1, 0, 2, 3)
        np.testing.assert_array_equal(found, wanted)

        result = np.zeros(layout.result_shape)
        values = found[0]
        result[layout.result_key(index, region)] = layout.as_in_image(values)
        np.testing.assert_array_equal(layout.result_part(result, index)[region], values)
        assert np.count_nonzero(result) == np.count_nonzero(values)


def test_volumes_need_a_z():
    with pytest.raises(UserError, match=r"for volumes, and the image has no Z \(axes TYX\)"):
        Layout.of(np.zeros((3, 4, 5)), "TYX", dims=3)
