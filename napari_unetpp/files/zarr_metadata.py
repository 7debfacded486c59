"""What OME-Zarr says of an image: its axes, its resolutions, how long a pixel is.

Read are the versions 0.1 to 0.5, and also what bends the rules without being unclear: axes in any
order, without a type or with names of their own. Written are 0.4 and 0.5, by the rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_unetpp.errors import UserError
from napari_unetpp.files.pixel_size import PixelSize, in_micrometres, in_seconds

Version = Literal["0.4", "0.5"]

PROVENANCE_KEY = "napari_unetpp"
"""Among the attributes, as others may add theirs."""
TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
LETTER_OF_TYPE = {"time": "T", "channel": "C"}


class Axis(BaseModel):
    """One axis; before 0.4 it was just a name."""

    name: str
    type: str | None = None
    unit: str | None = None


class Transformation(BaseModel):
    """From pixels to units of length and time."""

    type: str
    scale: list[float] | None = None
    translation: list[float] | None = None


class Dataset(BaseModel):
    """One resolution."""

    path: str
    coordinate_transformations: list[Transformation] = Field(
        default_factory=list, alias="coordinateTransformations"
    )


class Multiscale(BaseModel):
    """One image at all its resolutions, the finest first."""

    axes: list[Axis | str] = [*"tczyx"]  # as in 0.1 and 0.2, which don't name them
    datasets: list[Dataset] = Field(min_length=1)
    coordinate_transformations: list[Transformation] = Field(
        default_factory=list, alias="coordinateTransformations"
    )

    @property
    def named_axes(self) -> list[Axis]:
        """The axes in the form of 0.4."""
        return [Axis(name=axis) if isinstance(axis, str) else axis for axis in self.axes]


def parse_multiscale(attributes: Mapping[str, Any], name: str) -> Multiscale | None:
    """The first image of a group's attributes; None if it says nothing of any.

    Raises
    ------
    UserError
        If what it says can't be understood; `name` is for the sentence.
    """
    inner = attributes.get("ome", attributes)
    if not isinstance(inner, Mapping) or "multiscales" not in inner:
        return None
    images = inner["multiscales"]
    try:
        if not isinstance(images, list) or not images:
            raise _unclear(name, "multiscales is empty or no list")
        return Multiscale.model_validate(images[0])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _unclear(name, f"{place}: {first['msg']}") from error


def letters_of(axes: Sequence[Axis], name: str) -> str:
    """The axes as letters: by their names t, c, z, y, x, and else by their types.

    Raises
    ------
    UserError
        If an axis is none of these.
    """
    letters = [_letter(axis) for axis in axes]
    free = [a for a in "ZYX" if a not in letters]
    for place in reversed(range(len(axes))):
        if letters[place] is None and axes[place].type == "space" and free:
            letters[place] = free.pop()
    found = [letter for letter in letters if letter is not None]
    if len(found) < len(letters) or len(set(found)) < len(found):
        names = ", ".join(axis.name for axis in axes)
        raise UserError(
            f"{name} has the axes {names}, which can't be told to be t, c, z, y and x, each once: "
            "give them yourself, like ZYX."
        )
    return "".join(found)


@dataclass(frozen=True)
class Geometry:
    """How the pixels of one resolution lie.

    Attributes
    ----------
    pixel_size : PixelSize
        For the axes whose unit is known.
    origin : dict of str to float
        Where the first pixel lies, in µm, for axes on which that isn't 0.
    """

    pixel_size: PixelSize = field(default_factory=PixelSize)
    origin: Mapping[str, float] = field(default_factory=dict)


def geometry_of(image: Multiscale, letters: str) -> Geometry:
    """That of the finest resolution, whose axes are `letters`; nothing if they don't fit."""
    axes = image.named_axes
    if len(axes) != len(letters):
        return Geometry()
    scale, offset = [1.0] * len(axes), [0.0] * len(axes)
    for step in (*image.datasets[0].coordinate_transformations, *image.coordinate_transformations):
        if step.scale is not None and len(step.scale) == len(axes):
            scale = [a * b for a, b in zip(scale, step.scale, strict=True)]
            offset = [a * b for a, b in zip(offset, step.scale, strict=True)]
        if step.translation is not None and len(step.translation) == len(axes):
            offset = [a + b for a, b in zip(offset, step.translation, strict=True)]
    lengths: dict[str, float] = {}
    origin: dict[str, float] = {}
    interval = None
    for axis, letter, step_length, start in zip(axes, letters, scale, offset, strict=True):
        micrometres = in_micrometres(axis.unit or "")
        if letter in "ZYX" and micrometres is not None:
            lengths[letter] = step_length * micrometres
            if start and math.isfinite(start):
                origin[letter] = start * micrometres
        elif letter == "T":
            interval = step_length * (in_seconds(axis.unit or "") or 0.0)
    return Geometry(PixelSize.of(lengths, interval), origin)


def label_attributes(
    axes: str,
    strides: Sequence[Sequence[int]],
    *,
    name: str,
    version: Version,
    pixel_size: PixelSize,
    origin: Mapping[str, float],
    is_labels: bool = True,
) -> dict[str, Any]:
    """The attributes of a group with a label image, or one of intensities.

    Parameters
    ----------
    axes : str
        In the order of OME-Zarr, TZYX.
    strides : sequence of sequences of int
        For each resolution how many pixels of the finest one are one of it, along each axis. It
        takes the first of them, so that all resolutions have the same origin.
    """
    units = dict.fromkeys(pixel_size.lengths, "micrometer")
    steps: dict[str, float] = dict(pixel_size.lengths)
    if pixel_size.interval is not None:
        units["T"], steps["T"] = "second", pixel_size.interval
    described = [
        {"name": a.lower(), "type": TYPES[a]} | ({"unit": units[a]} if a in units else {})
        for a in axes
    ]
    start = [float(origin.get(a, 0.0)) if a in units else 0.0 for a in axes]
    datasets = []
    for level, stride in enumerate(strides):
        scale = [float(steps.get(a, 1.0) * n) for a, n in zip(axes, stride, strict=True)]
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(start):
            transformations.append({"type": "translation", "translation": start})
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    image = {"name": name, "axes": described, "datasets": datasets, "type": "nearest"}
    if version == "0.4":
        label = {"image-label": {"version": version}} if is_labels else {}
        return {"multiscales": [{"version": version, **image}], **label}
    label = {"image-label": {}} if is_labels else {}
    return {"ome": {"version": version, "multiscales": [image], **label}}


def labels_attributes(names: Sequence[str], version: Version) -> dict[str, Any]:
    """The attributes of a group that holds label images."""
    inner = {"labels": list(names)}
    return inner if version == "0.4" else {"ome": {"version": version, **inner}}


def _letter(axis: Axis) -> str | None:
    name = axis.name.strip().upper()
    return name if name in TYPES else LETTER_OF_TYPE.get(axis.type or "")


def _unclear(name: str, reason: str) -> UserError:
    return UserError(
        f"The OME-Zarr metadata of {name} can't be understood ({reason}): write the file again, or "
        "give the folder of its full resolution with the axes."
    )
