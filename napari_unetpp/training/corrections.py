"""What the user corrected, plane by plane."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_unetpp.errors import UserError
from napari_unetpp.training.labels import LabelKind, read_labels
from napari_unetpp.training.slabs import Slab

Trust = Literal["planes", "margin", "scribbles"]
"""Which pixels of a plane are right: all, those near to a change, or those that are painted."""

MARGIN = 24
"""Pixels around a change that the user has looked at, with trust in the margin."""
SUFFIX = ".safetensors"


class Source(BaseModel):
    """Where a correction comes from.

    Attributes
    ----------
    image : str
        Name of the image.
    shape : tuple of int
        Of the image, so that it is known again.
    index : tuple of int
        Of the plane, over the outer axes.
    layer : str
        Identifies the layer that was painted: one correction a plane and layer.
    trust : {"planes", "margin", "scribbles"}
        Which pixels count as known.
    colour : bool
        Whether the image is in colour, see `find_limits`.
    when : str
        ISO 8601 date and time in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    shape: tuple[int, ...] = ()
    index: tuple[int, ...] = ()
    layer: str = ""
    trust: Trust = "planes"
    colour: bool = False
    when: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))


@dataclass(frozen=True)
class Correction:
    """One plane with what is known of it.

    Attributes
    ----------
    image : array
        Shape ``(c, y, x)``: the channels that the model sees, intensities as in the file.
    classes : uint8 array
        Shape ``(y, x)``: 0 is background, n the n-th class.
    known : bool array
        Shape ``(y, x)``: where `classes` is to be learnt from.
    wrong : bool array
        Shape ``(y, x)``: where the prediction was another.
    source : Source
        Where it comes from.
    painted : int array, optional
        Shape ``(y, x)``: the labels themselves where `classes` don't say all, as of instances.
    slab : Slab, optional
        The planes around it, for a model of volumes.
    """

    image: NDArray[Any]
    classes: NDArray[np.uint8]
    known: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    source: Source = field(default_factory=lambda: Source(image=""))
    painted: NDArray[Any] | None = None
    slab: Slab | None = None

    @cached_property
    def plane(self) -> str:
        """SHA-256 of the plane's pixels: the same plane is the same under any name."""
        return digest_of(self.image)

    @cached_property
    def content(self) -> str:
        """SHA-256 of what is known of the plane."""
        return digest_of(np.where(self.known, self.classes.astype(np.int16), -1))

    @property
    def kind(self) -> LabelKind:
        """What the labels meant when they were painted."""
        if self.source.trust == "scribbles":
            return "scribbles"
        return "classes" if self.painted is None else "instances"

    @property
    def labels(self) -> NDArray[Any]:
        """As they were painted."""
        if self.painted is not None:
            return self.painted
        if self.source.trust == "scribbles":
            return np.where(self.known, self.classes + 1, 0).astype(np.uint8)
        return self.classes

    @property
    def file_name(self) -> str:
        """Name of its file: a later correction in the same layer replaces an earlier one."""
        layer = hashlib.sha256(f"{self.source.layer} {self.source.index}".encode()).hexdigest()
        return f"{self.plane[:16]}-{layer[:16]}{SUFFIX}"


def correct(
    image: NDArray[Any],
    labels: NDArray[Any],
    *,
    kind: LabelKind,
    trust: Trust = "planes",
    predicted: NDArray[Any] | None = None,
    margin: int = MARGIN,
    source: Source,
    slab: Slab | None = None,
) -> Correction:
    """A correction from a painted plane.

    Parameters
    ----------
    image : array
        Shape ``(c, y, x)``, the channels that the model sees.
    labels : int array
        Shape ``(y, x)``, as painted.
    kind : {"classes", "instances", "scribbles"}
        What the labels mean. Scribbles are known where they are painted, whatever the trust.
    trust : {"planes", "margin"}
        Which pixels count as right.
    predicted : int array, optional
        Shape ``(y, x)``: what was shown before it was painted; classes, or with instances
        instances or a mask. Without it, nothing was predicted, and every labelled pixel is wrong.
    margin : int
        Pixels around a change that count with trust in the margin.
    source : Source
        Where it comes from.
    slab : Slab, optional
        The planes around it, for a model of volumes.

    Raises
    ------
    UserError
        If the shapes differ, the image is no finite number anywhere, or as `read_labels`.
    """
    if labels.shape != image.shape[1:]:
        raise UserError(
            f"The labels of {source.image} have shape {labels.shape}, but its planes "
            f"{image.shape[1:]}: take the labels of this image."
        )
    if not np.isfinite(image).any():
        raise UserError(
            f"{source.image} has no finite intensity in the corrected plane: there is nothing to "
            "learn from it."
        )
    classes, known = read_labels(labels, kind)
    wrong = np.asarray(labels > 0)
    if predicted is not None:  # by class: that an object gets another number is no change
        shown, _ = read_labels(predicted, "instances" if kind == "instances" else "classes")
        wrong = known & (classes != shown)
    if kind == "scribbles":
        trust = "scribbles"
    elif trust == "margin":
        from scipy import ndimage  # here, as the dock is opened without it

        distance = ndimage.distance_transform_edt(~wrong) if wrong.any() else np.inf
        known = np.broadcast_to(distance <= margin, known.shape).copy()
    source = source.model_copy(update={"trust": trust})
    painted = labels if kind == "instances" else None
    return Correction(image, classes, known, wrong, source, painted, slab)


def newest(corrections: Iterable[Correction]) -> list[Correction]:
    """One correction a plane: what was painted last holds."""
    by_age = sorted(corrections, key=lambda correction: correction.source.when)
    return list({correction.plane: correction for correction in by_age}.values())


def digest_of(image: NDArray[Any]) -> str:
    """SHA-256 of pixels, in any memory order."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype.name}".encode())
    digest.update(np.ascontiguousarray(native(image)).tobytes())
    return digest.hexdigest()


def native(image: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this computer's byte order."""
    return image.astype(image.dtype.newbyteorder("="), copy=False)
