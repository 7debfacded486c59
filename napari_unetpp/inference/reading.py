"""Regions of an image as a network sees them: its channels, normalised, on its grid."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.chunks import ChunkedImage, UnreadableError, chunk_shape
from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.layout import ArrayLike, Index, Layout, Region
from napari_unetpp.inference.normalise import SAMPLED_PIXELS, Limits, find_limits, normalise
from napari_unetpp.models.spec import Normalisation

WHOLE_PIXELS = 1 << 24
"""A plane or volume of up to so many is read at once to tell its intensities from; of a larger one,
and where there is an overview, tiles are all that is read."""
SAMPLED_PARTS = 16
"""Parts of a larger one that its intensities are told from, spread evenly."""
LARGEST_PART = SAMPLED_PIXELS // 4
"""Pixels of such a part: of a chunk that is larger, just a piece is taken."""
STEPS = {2: (0.7548776662, 0.5698402910), 3: (0.8191725134, 0.6710436067, 0.5497004779)}
"""Shares of each axis from one part to the next, which spread any number of parts evenly (Roberts,
The unreasonable effectiveness of quasirandom sequences, 2018)."""

FloatArray = NDArray[np.float32]


class Reader:
    """Reads an image piece by piece, region by region.

    Parameters
    ----------
    image : array-like
        Any real dtype.
    layout : Layout
        How it is taken apart.
    normalisation : Normalisation
        How intensities become what the network was trained on.
    in_channels : int
        That the network takes.
    grid : Grid, optional
        The network's pixels over those of a piece; by default the same.
    channels : tuple of int, optional
        Which of the image, see `channels_for`.
    overview : array-like, optional
        The same image with Y and X (and Z) coarser, to tell the intensities from.
    """

    def __init__(
        self,
        image: ArrayLike,
        layout: Layout,
        normalisation: Normalisation,
        *,
        in_channels: int,
        grid: Grid | None = None,
        channels: tuple[int, ...] | None = None,
        overview: ArrayLike | None = None,
    ) -> None:
        self._image = ChunkedImage(image)
        self._in_memory = isinstance(image, np.ndarray)
        self._chunk = chunk_shape(image)
        self._layout, self._how = layout, normalisation
        self._grid = grid or Grid.of(layout.spatial_shape, None, None)
        self._mix = channels_for(layout, in_channels, channels)
        self._colour = layout.is_colour and channels is None
        self._overview = overview
        self._index: Index | None = None
        self._limits: list[Limits] = []
        self._whole: NDArray[Any] | None = None

    def read(self, index: Index, region: Region) -> FloatArray:
        """A region of the network's grid of a piece, ``(c, *spatial)``, in [0, 1].

        Raises
        ------
        UnreadableError
            If the image can't be read there.
        """
        if index != self._index:
            self._turn_to(index)
        source = self._grid.of_image(region)
        if self._whole is not None:
            taken = self._whole[(slice(None), *source)]
        else:
            taken = self.channels(index, source)
        pairs = zip(taken, self._limits, strict=True)
        pixels = np.stack([normalise(channel, limits) for channel, limits in pairs])
        return self._grid.to_network(pixels, source, region)

    def channels(self, index: Index, region: Region) -> NDArray[Any]:
        """A region of a piece, ``(c, *spatial)``, as it is in the image.

        Raises
        ------
        UnreadableError
            If the image can't be read there.
        """
        return self._mix(self._layout.take(self._image, index, region))

    def intensities(self, index: Index) -> NDArray[Any]:
        """Values ``(c, …)`` from all over a piece: what its normalisation is told from.

        Raises
        ------
        UnreadableError
            If nothing of it can be read.
        """
        if self._overview is not None:
            layout = Layout.of(self._overview, self._layout.axes, dims=self._layout.dims)
            return self._mix(layout.take(self._overview, self._in_overview(index, layout)))
        return self._thinned(index) if self._in_memory else self._sampled(index)

    def _in_overview(self, index: Index, overview: Layout) -> Index:
        """The place of a piece in an overview, which may have fewer planes as well."""
        lengths = zip(self._layout.outer_shape, overview.outer_shape, strict=True)
        return tuple(
            (2 * n + 1) * there // (2 * here)
            for n, (here, there) in zip(index, lengths, strict=True)
        )

    def _turn_to(self, index: Index) -> None:
        self._index, self._whole, self._limits = None, None, []
        if self._overview is None and prod(self._layout.spatial_shape) <= WHOLE_PIXELS:
            with suppress(UnreadableError):  # then it is read tile by tile, as far as it can be
                self._whole = self.channels(index, self._layout.whole)
        values = self.intensities(index) if self._whole is None else self._whole
        self._limits = [find_limits(each, self._how, colour=self._colour) for each in values]
        self._index = index

    def _thinned(self, index: Index) -> NDArray[Any]:
        """Every so many pixels of a piece that is in memory, which costs nothing."""
        dims = self._layout.dims
        step = int((prod(self._layout.spatial_shape) / SAMPLED_PIXELS) ** (1 / dims)) + 1
        region = tuple(slice(0, length, step) for length in self._layout.spatial_shape)
        return self.channels(index, region)

    def _sampled(self, index: Index) -> NDArray[Any]:
        """Some chunks of a piece, ``(c, n)``; those that can't be read are left out."""
        found, problem = [], None
        for region in self._spread():
            try:
                part = self.channels(index, region)
            except UnreadableError as error:
                problem = error
            else:
                found.append(part.reshape(len(part), -1))
        if problem is not None and not found:
            raise problem
        return np.concatenate(found, axis=1)

    def _spread(self) -> list[Region]:
        """Chunks of a piece, or pieces of large ones, evenly spread over it."""
        axes, shape = self._layout.axes, self._layout.spatial_shape
        sides = [self._chunk[axes.index(a)] for a in self._layout.spatial_axes]
        while prod(sides) > LARGEST_PART:
            longest = sides.index(max(sides))
            sides[longest] = -(-sides[longest] // 2)
        counts = [-(-n // side) for n, side in zip(shape, sides, strict=True)]
        places: Iterable[tuple[int, ...]] = np.ndindex(*counts)
        if prod(counts) > SAMPLED_PARTS:
            shares = (np.arange(SAMPLED_PARTS)[:, None] * STEPS[len(shape)] + 0.5) % 1
            places = dict.fromkeys(map(tuple, (shares * counts).astype(int).tolist()))
        return [
            tuple(
                slice(number * side, min((number + 1) * side, n))
                for number, side, n in zip(place, sides, shape, strict=True)
            )
            for place in places
        ]
