"""Corrected planes as the network sees them: each for itself, or together in their volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.grid import Grid
from napari_unetpp.inference.normalise import find_limits, normalise
from napari_unetpp.models.spec import ModelSpec
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.places import Split
from napari_unetpp.training.samples import normalise_channels
from napari_unetpp.training.slabs import Slab

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Piece:
    """What one sample, and what is scored of it, are made from.

    Attributes
    ----------
    kind : str
        Under which it is scored.
    image : float32 array
        Shape ``(c, *spatial)``, on the network's grid, normalised to [0, 1].
    classes : uint8 array
        Shape ``spatial``: 0 is background, n the n-th class.
    learnt, held_out : bool array
        Shape ``spatial``: where it is learnt from, and where it is scored.
    wrong : bool array
        Shape ``spatial``: where the prediction was another.
    """

    kind: str
    image: NDArray[np.float32]
    classes: NDArray[np.uint8]
    learnt: BoolArray
    held_out: BoolArray
    wrong: BoolArray


def pieces_of(
    corrections: Sequence[Correction],
    splits: Sequence[Split],
    kinds: Sequence[str],
    spec: ModelSpec,
) -> Iterator[Piece]:
    """A piece for each plane; for a model of volumes one for all planes that lie near together.

    Parameters
    ----------
    corrections : sequence of Correction
        With their slabs for a model of volumes.
    splits : sequence of Split
        Of each, what is learnt and what is held out.
    kinds : sequence of str
        Of each, under which it is scored.
    spec : ModelSpec
        Of the model that learns.
    """
    together = zip(corrections, splits, kinds, strict=True)
    if spec.dims == 2:
        for c, split, kind in together:
            image, _ = normalise_channels(c.image, spec.normalisation, colour=c.source.colour)
            yield Piece(kind, image, c.classes, split.learnt, split.held_out, c.wrong)
        return
    for block in _blocks(together):
        yield block.piece(spec)


@dataclass
class _Block:
    """Planes of one volume whose slabs overlap or touch, so that one patch may show several."""

    kind: str
    slabs: list[Slab] = field(default_factory=list)
    planes: list[tuple[Correction, Split]] = field(default_factory=list)

    @property
    def start(self) -> int:
        return min(slab.start for slab in self.slabs)

    @property
    def stop(self) -> int:
        return max(slab.start + len(slab.image[0]) for slab in self.slabs)

    def piece(self, spec: ModelSpec) -> Piece:
        first, start = self.slabs[0], self.start
        channels, _, *plane = first.image.shape
        pixels = np.empty((channels, self.stop - start, *plane), first.image.dtype)
        for slab in self.slabs:
            at = slab.start - start
            pixels[:, at : at + slab.image.shape[1]] = slab.image
        grid = Grid.of(pixels.shape[1:], first.voxel_size, spec.voxel_size)
        colour = self.planes[0][0].source.colour
        limits = [
            find_limits(values, spec.normalisation, colour=colour) for values in first.intensities
        ]
        image = np.stack([normalise(c, k) for c, k in zip(pixels, limits, strict=True)])
        image = grid.to_network(image, _whole(grid.image_shape), _whole(grid.shape))
        piece = Piece(
            self.kind,
            image,
            np.zeros(grid.shape, np.uint8),
            *(np.zeros(grid.shape, bool) for _ in range(3)),
        )
        nearest = np.ix_(*(_nearest(grid, axis) for axis in (1, 2)))
        for slab, (correction, split) in zip(self.slabs, self.planes, strict=True):
            # What was painted holds for the middle of a plane, which others may lie around.
            z = int((slab.start + slab.place - start + 0.5) * grid.factors[0])
            z = min(z, grid.shape[0] - 1)
            piece.classes[z] = correction.classes[nearest]
            piece.learnt[z] = split.learnt[nearest]
            piece.held_out[z] = split.held_out[nearest]
            piece.wrong[z] = correction.wrong[nearest]
        return piece


def _blocks(planes: Any) -> list[_Block]:
    found: dict[tuple[object, ...], list[_Block]] = {}
    for correction, split, kind in sorted(planes, key=lambda plane: _slab(plane[0]).start):
        slab = _slab(correction)
        blocks = found.setdefault((kind, slab.volume), [])
        if not blocks or slab.start > blocks[-1].stop:
            blocks.append(_Block(kind))
        blocks[-1].slabs.append(slab)
        blocks[-1].planes.append((correction, split))
    return [block for blocks in found.values() for block in blocks]


def _slab(correction: Correction) -> Slab:
    if correction.slab is None:
        raise UserError(
            f"The correction of {correction.source.image} is of a plane alone, and the model is "
            "for volumes: correct masks that this model made."
        )
    return correction.slab


def _nearest(grid: Grid, axis: int) -> NDArray[np.intp]:
    """For each of the network's pixels along an axis the nearest of the image's."""
    centres = (np.arange(grid.shape[axis]) + 0.5) / grid.factors[axis]
    return np.minimum(centres.astype(np.intp), grid.image_shape[axis] - 1)


def _whole(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(0, length) for length in shape)
