"""What is computed of the planes or volumes of an image: how many heads, and where."""

from __future__ import annotations

from collections.abc import Iterator

from napari_unetpp.inference.layout import Index, Region

Bounds = tuple[tuple[int, int], ...]


class Coverage:
    """Grows tile by tile; asking costs nothing, however many tiles there are.

    Attributes
    ----------
    heads : dict of Index to int
        Of each plane, how many heads there are anywhere.
    deepest : int
        The most heads of any plane.
    revision : int
        Counts the tiles.
    """

    def __init__(self) -> None:
        self.heads: dict[Index, int] = {}
        self.deepest = self.revision = 0
        self._regions: dict[Index, dict[Bounds, Region]] = {}
        self._extents: dict[Index, Region] = {}

    def add(self, index: Index, region: Region, heads: int) -> None:
        """So many heads of a region of a plane are computed."""
        self.revision += 1
        self.heads[index] = max(heads, self.heads.get(index, 0))
        self.deepest = max(heads, self.deepest)
        self._regions.setdefault(index, {})[_bounds(region)] = region
        whole = self._extents.get(index, region)
        self._extents[index] = tuple(
            slice(min(a.start, b.start), max(a.stop, b.stop))
            for a, b in zip(whole, region, strict=True)
        )

    def regions(self) -> Iterator[tuple[Index, Region]]:
        """All that is computed, each once."""
        for index, regions in self._regions.items():
            for region in regions.values():
                yield index, region

    def extents(self) -> list[tuple[Index, Region]]:
        """Of each plane the least region that holds all that is computed of it."""
        return list(self._extents.items())


def _bounds(region: Region) -> Bounds:
    return tuple((part.start, part.stop) for part in region)
