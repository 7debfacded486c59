"""What `segment` does to one image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_unetpp import __version__
from napari_unetpp.cli.console import say
from napari_unetpp.errors import UserError
from napari_unetpp.files import (
    ZARR_SUFFIX,
    ImageFile,
    Source,
    check_free,
    name_of,
    open_image,
    write_mask_group,
    write_masks,
)
from napari_unetpp.inference.events import TileEvent
from napari_unetpp.inference.heads import Heads, LazyMask
from napari_unetpp.inference.instance_tiles import separate_lazily
from napari_unetpp.inference.instances import separate
from napari_unetpp.inference.layout import ArrayLike
from napari_unetpp.inference.options import SegmentOptions, pixel_size_along
from napari_unetpp.inference.predict import segment_tiles
from napari_unetpp.models.file import Model

ENSEMBLE, INSTANCES = "ensemble", "instances"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done to each image; see the options of `segment`."""

    model: Model
    model_file: Path
    options: SegmentOptions
    axes: str | None
    threshold: float
    heads: Literal["all", "deepest", "ensemble"]
    instances: bool
    force: bool

    def run(self, source: Source, output: Path, sources: set[Source]) -> Iterator[TileEvent]:
        """Segment an image and write its masks; yields what `segment_tiles` does.

        Parameters
        ----------
        source : Path or str
            The image.
        output : Path
            A name that ends in .zarr, of a folder for all masks; or the beginning of the names of
            TIFFs, which goes on with ``_<result>.tif``.
        sources : set of Path or str
            What must not be replaced.

        Raises
        ------
        UserError
            If the file can't be read or segmented, or a result would replace a file or an input.
        """
        as_zarr = output.suffix.lower() == ZARR_SUFFIX
        targets = {name: Path(f"{output}_{name}.tif") for name in self.results}
        for target in [output] if as_zarr else targets.values():  # before the work, not after it
            check_free(target, force=self.force)
            check_no_input(target, sources)
        image = self.opened(source)
        heads, events = segment_tiles(
            image.data, self.model, axes=image.axes, options=self.options_for(image)
        )
        device = ""
        for event in events:
            device = event.device.label
            yield event
        results = self._made(name_of(source), heads, device)
        if as_zarr:
            write_mask_group(
                output,
                results,
                axes=heads.axes,
                pixel_size=image.pixel_size,
                origin=image.origin,
                force=self.force,
            )
            return
        for name, pixels, made in results:
            write_masks(
                targets[name],
                pixels,
                axes=heads.axes,
                pixel_size=image.pixel_size,
                provenance=made,
                force=self.force,
            )

    @property
    def depth(self) -> int:
        """The deepest head."""
        return self.model.spec.checked_depth(self.options.depth)

    @property
    def masks(self) -> list[str]:
        """The names of the masks that are written."""
        all_heads = [f"L{k}" for k in self.model.spec.up_to(self.depth)]
        return {"all": all_heads, "deepest": all_heads[-1:], "ensemble": [ENSEMBLE]}[self.heads]

    @property
    def results(self) -> list[str]:
        """The names of all that is written."""
        return [*self.masks, INSTANCES] if self.instances else self.masks

    def opened(self, source: Source) -> ImageFile[ArrayLike]:
        """The image; says what is odd about it.

        Raises
        ------
        UserError
            As `open_image`.
        """
        image = open_image(source, self.axes)
        if image.notice:
            say(image.notice)
        return image

    def options_for(self, image: ImageFile[ArrayLike]) -> SegmentOptions:
        """With what the file says: how long a pixel is, and how it looks from afar."""
        size = pixel_size_along(image.pixel_size.lengths, self.model.spec.dims)
        return replace(
            self.options,
            pixel_size=self.options.pixel_size or size,
            overview=image.overview,
        )

    def provenance(self, image: str, axes: str) -> dict[str, Any]:
        """Enough to make it again."""
        return {
            "image": image,
            "axes": axes,
            "model": self.model.spec.name,
            "sha256": self.model.digest,
            "depth": self.depth,
            "threshold": self.threshold,
            "channels": self.options.channels,
            "pixel_size": self.options.pixel_size,
            "normalisation": self.model.spec.normalisation.model_dump(),
            "tile": self.options.tile,
            "version": __version__,
        }

    def _made(
        self, image: str, heads: Heads, device: str
    ) -> Iterable[tuple[str, ArrayLike, dict[str, Any]]]:
        """Each result with its provenance, one after the other."""
        about = self.provenance(image, heads.layout.axes)
        for name in self.results:
            yield name, self._pixels(name, heads), {**about, "result": name, "device": device}

    def _pixels(self, name: str, heads: Heads) -> ArrayLike:
        """A result; of large images it is made where it is read."""
        if name == INSTANCES:
            mask = self._pixels(self.masks[-1], heads)
            if isinstance(mask, np.ndarray):
                return separate(mask, heads.layout.dims)
            return separate_lazily(mask, heads.layout)
        lazy = LazyMask(heads, None if name == ENSEMBLE else int(name[1:]), self.threshold)
        return np.asarray(lazy[...]) if heads.in_memory else lazy


def check_no_input(target: Source, sources: Iterable[Source]) -> None:
    """Refuse a place that an input is in, or that is one.

    Raises
    ------
    UserError
        If it is.
    """
    for source in sources:
        if isinstance(source, Path) and isinstance(target, Path):
            lies_in = source.resolve().is_relative_to(target.resolve())
        else:
            lies_in = f"{source}/".startswith(f"{str(target).rstrip('/')}/")
        if lies_in:
            raise UserError(f"{target} is one of the inputs: choose another place for output.")
