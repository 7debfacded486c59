"""Images with labels in files, as corrections of what a model finds in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.files import read_image
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.inference.chunks import kept_chunks
from napari_unetpp.inference.heads import Heads, mask_of
from napari_unetpp.inference.layout import Index
from napari_unetpp.inference.options import SegmentOptions, pixel_size_along
from napari_unetpp.inference.predict import segment
from napari_unetpp.models.file import Model
from napari_unetpp.training.corrections import Correction, Source, correct
from napari_unetpp.training.labels import LabelKind, guess_kind
from napari_unetpp.training.samples import read_pair
from napari_unetpp.training.slabs import slab_around


def corrections_in(
    pairs: Sequence[tuple[Path, Path]],
    model: Model,
    *,
    kind: LabelKind | Literal["auto"] = "auto",
    device: str = "auto",
) -> Iterator[list[Correction]]:
    """Segment images and compare with their labels; yields the corrections of each pair.

    Every plane with a label is a correction; planes without any count as not looked at.

    Parameters
    ----------
    pairs : sequence of (image file, label file)
        As `find_pairs` gives them.
    model : Model
        What its deepest head says, at threshold 0.5, is compared with the labels.
    kind : {"auto", "classes", "instances", "scribbles"}
        What the labels mean; "auto" takes them for instances if the numbers of any file are too
        many for classes (see `guess_kind`), else for classes.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to segment.

    Raises
    ------
    UserError
        If a file can't be read, its labels are none of the kind or don't fit the image, or the
        image doesn't fit the model.
    """
    if kind == "auto":
        kinds = {_guess(labels, len(model.spec.classes)) for _, labels in pairs}
        kind = "instances" if "instances" in kinds else "classes"
    for image, labels in pairs:
        with _naming(image):
            found = _corrections(image, labels, model, kind, device)
        yield found


def _guess(path: Path, classes: int) -> LabelKind:
    with _naming(path):
        return guess_kind(read_image(path).data, classes)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have every sentence say which file it is about."""
    try:
        yield
    except UserError as error:
        if path.name in str(error):
            raise
        raise UserError(f"{path.name}: {error}") from error


def _corrections(
    image_path: Path, label_path: Path, model: Model, kind: LabelKind, device: str
) -> list[Correction]:
    dims = model.spec.dims
    file, labels, layout = read_pair(image_path, label_path, dims=dims)
    size = pixel_size_along(file.pixel_size.lengths, dims)
    planes = replace(layout, dims=2)
    labelled = [index for index in planes.indices() if planes.result_part(labels, index).any()]
    pieces = {layout.piece_of(index)[0] for index in labelled}
    options = SegmentOptions(device=device, indices=sorted(pieces), pixel_size=size)
    heads = segment(file.data, model, axes=layout.axes, options=options)
    mix = channels_for(layout, model.spec.in_channels)
    image = kept_chunks(file.data)  # planes are in their slabs, and these overlap

    return [
        correct(
            mix(planes.take(image, index)),
            planes.result_part(labels, index),
            kind=kind,
            predicted=mask_of(_plane(heads, index)[-1]),
            source=Source(
                image=image_path.stem,
                shape=layout.result_shape,
                index=index,
                layer=label_path.name,
                colour=layout.is_colour,
            ),
            slab=slab_around(image, layout, index, model.spec, voxel_size=size),
        )
        for index in labelled
    ]


def _plane(heads: Heads, index: Index) -> NDArray[Any]:
    """One plane ``(head, class, y, x)`` of what may be volumes."""
    return replace(heads.layout, dims=2).result_part(heads.values, index)
