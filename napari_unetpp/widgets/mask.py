"""A labels layer as something to learn from: what the user changed in it, plane by plane."""

from __future__ import annotations

import uuid
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import Index, Planes
from napari_unetpp.inference.channels import channels_for
from napari_unetpp.models import Store
from napari_unetpp.models.header import read_digest
from napari_unetpp.training.corrections import Correction, Source, correct
from napari_unetpp.training.labels import LabelKind, guess_kind
from napari_unetpp.widgets.geometry import METADATA_KEY, image_data, is_result, place_like
from napari_unetpp.widgets.result_layer import ResultLayer

Learn = Literal["edited planes", "around edits", "checked planes", "scribbles"]
LEARN: tuple[Learn, ...] = ("edited planes", "around edits", "checked planes", "scribbles")
LABELS: tuple[Literal["auto", "classes", "instances"], ...] = ("auto", "classes", "instances")
IDENTITY = "mask"
"""Key in the layer's metadata."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the user says of their masks.

    Attributes
    ----------
    labels : {"auto", "classes", "instances"}
        What the numbers in a layer of the user's own are; "auto" takes many for instances.
    learn : {"edited planes", "around edits", "checked planes", "scribbles"}
        Which pixels are right: of each plane that was edited or marked as checked, all; those
        near to an edit; all of the planes marked as checked, and of no others; or those that are
        painted, in a layer where 1 is background and 2 … are the classes.
    margin : int
        What near is, in pixels.
    """

    learn: Learn = "edited planes"
    labels: Literal["auto", "classes", "instances"] = "auto"
    margin: int = 24


class Mask:
    """A labels layer over an image.

    Parameters
    ----------
    layer : Labels
        What the user paints.
    image : Image
        What it is the mask of.
    planes : Planes
        How the image is taken apart.
    store : Store
        Where the model is.
    model : str
        Name of the model that is corrected.
    channel : int, optional
        Which channel a model of one channel sees.
    made : ResultLayer, optional
        If the dock made the layer: what it showed at first.

    Attributes
    ----------
    identity : str
        Of the layer; stays with it.
    lineage : str
        The family of models whose corrections these are.
    checked : set of Index
        Planes that the user marked as right.
    kind : {"classes", "instances", "scribbles"}, optional
        What the labels mean, where that is known.
    limits : dict of Index to (array, array)
        Of planes that were restored: the labels, and where these were known.

    Raises
    ------
    UserError
        If the layer can't be a mask of the image, or there is no such model.
    """

    def __init__(
        self,
        layer: Labels,
        image: Image,
        planes: Planes,
        *,
        store: Store,
        model: str,
        channel: int | None,
        made: ResultLayer | None = None,
    ) -> None:
        _check(layer, image, planes)
        spec = store.spec(model)
        self.layer, self.image, self.planes = layer, image, planes
        self.lineage = spec.lineage(read_digest(store.path(model)))
        self.checked: set[Index] = set()
        self.kind: LabelKind | None = None
        self.limits: dict[Index, tuple[NDArray[Any], NDArray[np.bool_]]] = {}
        self._made, self._classes = made, len(spec.classes)
        # What an earlier dock showed in a layer, nobody knows; what is painted from now on counts.
        foreign = made is None and is_result(layer)
        self._first = np.array(layer.data) if foreign else None
        self._mix = channels_for(planes, spec.in_channels, channel)
        described = layer.metadata.setdefault(METADATA_KEY, {})
        self.identity: str = described.setdefault(IDENTITY, uuid.uuid4().hex)

    @property
    def is_made(self) -> bool:
        """Whether the dock made the layer, so that its image is known."""
        return self._made is not None

    def renew(self) -> None:
        """Take another identity: the layer was duplicated, and its metadata with it."""
        described = {**self.layer.metadata[METADATA_KEY], IDENTITY: uuid.uuid4().hex}
        self.layer.metadata = {**self.layer.metadata, METADATA_KEY: described}
        self.identity = described[IDENTITY]

    def corrected(self) -> list[Index]:
        """The planes that were edited, found by comparing with the prediction, or checked."""
        return [index for index in self.planes.indices() if self.is_corrected(index)]

    def is_corrected(self, index: Index) -> bool:
        """Whether a plane was edited or checked."""
        return index in self.checked or self._is_edited(index)

    def is_learnt(self, index: Index, lesson: Lesson) -> bool:
        """Whether a corrected plane is to be learnt from."""
        if lesson.learn == "scribbles":  # these are in layers of the user's own
            return self._made is None
        return lesson.learn != "checked planes" or index in self.checked

    def is_complete(self, index: Index) -> bool:
        """Whether there is a prediction for all of a plane, so that it can be right as it is."""
        return self._made is None or bool(self._plane(self._made.filled, index).all())

    def checksums(self, index: Index, lesson: Lesson) -> tuple[int, int]:
        """Other numbers if the labels of a plane are others, or what is said of them is."""
        said = f"{lesson} {index in self.checked}".encode()
        return zlib.crc32(self._labels(index).tobytes()), zlib.crc32(said)

    def correction(
        self, index: Index, lesson: Lesson, *, painted_at: str | None = None
    ) -> Correction:
        """One plane, with the pixels of the image, which may have to be read.

        `painted_at` is when, if that isn't now.

        Raises
        ------
        UserError
            If the labels or the image can't be learnt from.
        """
        labels = self._labels(index).copy()
        near = lesson.learn == "around edits" and index not in self.checked
        correction = correct(
            np.asarray(self._mix(self.planes.take(image_data(self.image), index))),
            labels,
            kind=self.kind or self._kind_of(lesson),
            trust="margin" if near else "planes",
            margin=lesson.margin,
            predicted=None if self._made is None else self._plane(self._made.predicted, index),
            source=self._source(index, painted_at),
        )
        if self._made is not None and index not in self.checked:
            # Where nothing was computed, as outside the view, an empty mask says nothing.
            correction.known[...] &= self._plane(self._made.filled, index) | correction.wrong
        if index in self.limits and index not in self.checked:
            before, known = self.limits[index]
            correction.known[...] &= known | (labels != before)
        return correction

    def _source(self, index: Index, painted_at: str | None) -> Source:
        source = Source(
            image=self.image.name,
            shape=self.planes.result_shape,
            index=index,
            layer=self.identity,
        )
        return source if painted_at is None else source.model_copy(update={"when": painted_at})

    def _kind_of(self, lesson: Lesson) -> LabelKind:
        if self._made is not None and self._made.key != "instances":
            return "classes"
        if self._made is not None:
            return "instances"
        if lesson.learn == "scribbles":
            return "scribbles"
        if lesson.labels != "auto":
            return lesson.labels
        return guess_kind(np.asarray(self.layer.data), self._classes)

    def _is_edited(self, index: Index) -> bool:
        labels = self._labels(index)
        if index in self.limits:
            return True
        if self._made is None:
            if self._first is not None:
                return not np.array_equal(labels, self._plane(self._first, index))
            return bool(labels.any())
        return not np.array_equal(labels, self._plane(self._made.predicted, index))

    def _labels(self, index: Index) -> NDArray[Any]:
        """One plane: the layer may be lazy, and large."""
        return np.asarray(self._plane(self.layer.data, index))

    def _plane(self, values: NDArray[Any], index: Index) -> NDArray[Any]:
        return self.planes.result_plane(values, index)


def _check(layer: Labels, image: Image, planes: Planes) -> None:
    if layer.multiscale:
        raise UserError(f"{layer.name} has several scales: choose a layer with one, to learn from.")
    shape = tuple(layer.data.shape)
    if shape != planes.result_shape:
        raise UserError(
            f"{layer.name} has shape {shape}, but a mask of {image.name} needs "
            f"{planes.result_shape}: choose its image or another layer."
        )
    place = place_like(image, planes)
    for what in ("scale", "translate"):
        if not np.allclose(getattr(layer, what), place[what]):
            raise UserError(
                f"{layer.name} lies elsewhere than {image.name} (its {what} differs): choose its "
                "image or another layer."
            )
