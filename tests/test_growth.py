"""Memory is given back when a run has grown, and not after each tile."""

import numpy as np
import pytest

from napari_unetpp.inference import growth
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.predict import segment


@pytest.fixture
def given_back(tiny_model, monkeypatch):
    """Gives the tiles after which memory is given back, from MB held before and after each."""

    def of(megabytes: list[int]) -> list[int]:
        seen = iter([n * 1_000_000 for n in megabytes])
        done, found = [], []
        monkeypatch.setattr(growth, "resident", lambda: next(seen))
        monkeypatch.setattr(growth, "release_memory", lambda device: found.append(len(done)))
        segment(
            np.zeros((300, 410), np.uint8),
            tiny_model,
            options=SegmentOptions(device="cpu", tile=128, depth=1),
            progress=done.append,
        )
        return found

    return of


def test_after_the_first_tile_and_then_no_more(given_back):
    assert given_back([500, 1500, *[1400] * 50]) == [1]


def test_whenever_it_has_grown(given_back):
    assert given_back([500, 1500, 1400, 1430, 1480, 1410, *[1440] * 50]) == [1, 4]


def test_not_while_it_stays_small(given_back):
    assert given_back([500, *[540] * 50]) == []
