"""A labels layer as something to learn from: what the user changed in it, plane by plane."""

from __future__ import annotations

import uuid
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_unetpp.inference.layout import Index, Layout
from napari_unetpp.models import Store
from napari_unetpp.training.corrections import Correction, Source, correct
from napari_unetpp.training.labels import LabelKind, guess_kind
from napari_unetpp.widgets.baseline import Baseline
from napari_unetpp.widgets.geometry import METADATA_KEY, is_result
from napari_unetpp.widgets.image_planes import ImagePlanes
from napari_unetpp.widgets.label_planes import LabelPlanes
from napari_unetpp.widgets.lesson import Lesson
from napari_unetpp.widgets.mask_checks import check_place
from napari_unetpp.widgets.result_layer import ResultLayer
from napari_unetpp.widgets.sources import Sources

IDENTITY = "mask"
"""Key in the layer's metadata."""


class Mask:
    """A labels layer over an image.

    Parameters
    ----------
    layer : Labels
        What the user paints.
    image : Image
        What it is the mask of.
    sources : Sources
        The layers that the model sees.
    layout : Layout
        How these are taken apart.
    store : Store
        Where the model is.
    model : str
        Name of the model that is corrected.
    channels : tuple of int, optional
        For each channel of the model which of the image it sees.
    level : int
        Of a multiscale image, which the mask is of.
    made : ResultLayer, optional
        If the dock made the layer: what it showed at first.
    baseline : Baseline, optional
        Of a layer that an earlier dock made, if it was watched before: how it was at first.
    shown : Index, optional
        The plane on screen.

    Attributes
    ----------
    identity : str
        Of the layer; stays with it.
    lineage : str
        The family of models whose corrections these are.
    families : set of str
        That, and those that learnt them from nothing: what is painted is for all of them.
    counts : bool
        Whether what is in a layer of the user's own is meant for learning: it was chosen for
        that, or painted since it is watched.
    planes : LabelPlanes
        Of the layer.
    over : Image, optional
        Another image, on which it was painted while its own was not seen: until the user settles
        whose mask it is, it isn't learnt.
    checked : set of Index
        Planes that the user marked as right.
    restored : dict of Index to Correction
        Planes that were brought back from the disk, as they were there.

    Raises
    ------
    UserError
        If the layer can't be a mask of the image, or there is no such model.
    """

    def __init__(
        self,
        layer: Labels,
        image: Image,
        sources: Sources,
        layout: Layout,
        *,
        store: Store,
        model: str,
        channels: tuple[int, ...] | None,
        level: int = 0,
        made: ResultLayer | None = None,
        baseline: Baseline | None = None,
        shown: Index | None = None,
    ) -> None:
        check_place(layer, image, layout, level)
        spec = store.spec(model)
        self.layer, self.image, self.sources, self.level = layer, image, sources, level
        self.layout = replace(layout, dims=2)  # what is painted are planes
        self.planes = LabelPlanes(layer, image, self.layout)
        self.baseline: Baseline | None = None
        self._image_planes = ImagePlanes(image, sources, self.layout, spec, channels, level)
        self.lineage = store.lineage(model)
        self.families = {self.lineage}
        self.channels, self.counts = channels, made is not None
        self.over: Image | None = None
        self.is_settled = made is not None  # whose mask it is: nothing on screen casts doubt on it
        self.checked: set[Index] = set()
        self.restored: dict[Index, Correction] = {}
        self._made, self._classes = made, len(spec.classes)
        self._guess: LabelKind = "classes"
        if made is None and is_result(layer):
            # What an earlier dock showed in it, nobody knows; what is painted from now on counts.
            known = baseline is not None and baseline.is_of(self.planes.layout)
            self.baseline = baseline if known else Baseline(self.planes, shown)
        described = layer.metadata.setdefault(METADATA_KEY, {})
        self.identity: str = described.setdefault(IDENTITY, uuid.uuid4().hex)

    @property
    def is_made(self) -> bool:
        """Whether the dock made the layer, so that its image is known."""
        return self._made is not None

    @property
    def doubt(self) -> str:
        """What to tell the user of a mask that was painted over another image."""
        name, other = self.layer.name, "another image" if self.over is None else self.over.name
        return (
            f"{name} was painted over {other}, but is taken for a mask of {self.image.name}: "
            f"choose the right image under Image, then {name} under Masks."
        )

    def is_free_for(self, image: Image) -> bool:
        """Whether it is a mask of an image, or nobody meant it as one of another."""
        return self.image is image or not self.counts

    def settle(self) -> None:
        """The user says that it is the mask of this image."""
        self.counts |= self.over is not None
        self.over, self.is_settled = None, True

    def renew(self) -> None:
        """Take another identity: the layer was duplicated, and its metadata with it."""
        described = {**self.layer.metadata[METADATA_KEY], IDENTITY: uuid.uuid4().hex}
        self.layer.metadata = {**self.layer.metadata, METADATA_KEY: described}
        self.identity = described[IDENTITY]

    def take_over(self, other: Mask) -> None:
        """Know what another mask of the same layer knows; what holds for its image just of that."""
        self.counts = other.counts or other.over is self.image
        if other.image is self.image:
            self.checked, self.restored = other.checked, other.restored
            self.over, self.is_settled = other.over, other.is_settled

    def corrected(self) -> list[Index]:
        """The planes that were edited, found by comparing with the prediction, or checked.

        Raises
        ------
        UserError
            If the layer has got another shape meanwhile.
        """
        self.planes.check()
        if self._made is None and self.counts:
            self._guess = guess_kind(np.asarray(self.planes.whole), self._classes)
        return [index for index in self.layout.indices() if self.is_corrected(index)]

    def is_corrected(self, index: Index) -> bool:
        """Whether a plane was edited or checked."""
        return index in self.checked or self._is_edited(index)

    def is_learnt(self, index: Index, lesson: Lesson) -> bool:
        """Whether a corrected plane is to be learnt from."""
        if self.over is not None:
            return False
        if lesson.learn == "scribbles":  # these are in layers of the user's own
            return self._made is None
        return lesson.learn != "checked planes" or index in self.checked

    def is_complete(self, index: Index) -> bool:
        """Whether there is a prediction for all of a plane, so that it can be right as it is."""
        return self._made is None or bool(self.layout.result_part(self._made.filled, index).all())

    def checksums(self, index: Index, lesson: Lesson) -> tuple[int, int]:
        """Other numbers if the labels of a plane are others, or what is said of them is."""
        kind = self._kind_of(index, lesson)
        said = f"{lesson} {kind} {index in self.checked}".encode()
        return zlib.crc32(self.planes.at(index).tobytes()), zlib.crc32(said)

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
        labels = self.planes.at(index).copy()
        image, slab = self._image_planes.at(index)
        near = lesson.learn == "around edits" and index not in self.checked
        correction = correct(
            image,
            labels,
            kind=self._kind_of(index, lesson),
            trust="margin" if near else "planes",
            margin=lesson.margin,
            predicted=None if self._made is None else self._predicted(index),
            source=self._source(index, painted_at),
            slab=slab,
        )
        if self._made is not None and index not in self.checked:
            # Where nothing was computed, as outside the view, an empty mask says nothing.
            correction.known[...] &= (
                self.layout.result_part(self._made.filled, index) | correction.wrong
            )
        if index in self.restored and index not in self.checked:
            before = self.restored[index]
            correction.known[...] &= before.known | (labels != before.labels)
        return correction

    def _source(self, index: Index, painted_at: str | None) -> Source:
        source = Source(
            image=self.image.name,
            shape=self.layout.result_shape,
            index=index,
            colour=self.layout.is_colour and self.channels is None,
            # A restored plane stays the same file, which versions may have learnt.
            layer=self.restored[index].source.layer if index in self.restored else self.identity,
        )
        return source if painted_at is None else source.model_copy(update={"when": painted_at})

    def _kind_of(self, index: Index, lesson: Lesson) -> LabelKind:
        if index in self.restored:
            return self.restored[index].kind
        if self._made is not None and self._made.key != "instances":
            return "classes"
        if self._made is not None:
            return "instances"
        if lesson.learn == "scribbles":
            return "scribbles"
        if lesson.labels != "auto":
            return lesson.labels
        return self._guess

    def _is_edited(self, index: Index) -> bool:
        if index in self.restored:
            return True
        if self._made is not None:
            with self._made.lock:
                return not np.array_equal(self.planes.at(index), self._predicted(index))
        if self.baseline is not None and (self.counts or self.over is None):
            return self.baseline.differs(self.planes, index)
        return self.counts and bool(self.planes.at(index).any())

    def _predicted(self, index: Index) -> NDArray[Any]:
        assert self._made is not None
        return self.layout.result_part(self._made.predicted, index)
