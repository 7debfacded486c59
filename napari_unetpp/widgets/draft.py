"""A model that the user is about to make: the networks by name, their sizes, and what fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_unetpp.errors import UserError
from napari_unetpp.models import ModelSpec, Store
from napari_unetpp.network.architecture import NETWORKS, Architecture, Down, Up
from napari_unetpp.widgets.plan import NewModel

if TYPE_CHECKING:
    from napari_unetpp.evaluation.size import Size  # at run time it would bring torch

WIDTHS_WANTED = "give two to nine whole numbers from 1 to 8192, like 16, 32, 64, 128, 256"


@dataclass(frozen=True)
class Network:
    """A network of the papers.

    Attributes
    ----------
    architecture : Architecture
        Its kinds.
    supervised : bool
        Whether it has a head in each column where there can be one; else just the deepest.
    first : int
        Channels of its first row; those of the rows below double.
    """

    architecture: Architecture
    supervised: bool
    first: int

    def widths(self, factor: float) -> tuple[int, ...]:
        """The channels of its rows, all smaller by a factor."""
        first = round(self.first * factor)
        return tuple(first << row for row in range(5))


def _network(key: str, *, supervised: bool = True) -> Network:
    preset = NETWORKS[key]
    return Network(Architecture(skip=preset.skip), supervised, preset.widths[0])


NAMED: dict[str, Network] = {
    "UNet++": _network("unet++"),
    "UNet++ without deep supervision": _network("unet++", supervised=False),
    "UNet+": _network("unet+"),
    "U-Net": _network("u-net"),
    "Wide U-Net": _network("wide-u-net"),
}
"""What is recommended comes first."""
SIZES: dict[str, float] = {"small": 1 / 2, "medium": 3 / 4, "as in the papers": 1.0}


def fitting_ups(down: Down) -> tuple[Up, ...]:
    """The ways up that go with a way down, the usual one first."""
    if down == "dilated":
        return ("none",)
    ups: tuple[Up, ...] = ("transposed", "nearest", "sub-pixel")
    return (*ups, "unpooling") if down == "max" else ups


def heads_of(architecture: Architecture, depth: int, supervised: bool) -> tuple[int, ...] | None:
    """The heads of a network, none for all that there can be."""
    return (depth,) if architecture.kind.nested and not supervised else None


def parsed_widths(text: str) -> tuple[int, ...]:
    """Widths as somebody types them, like "16, 32, 64".

    Raises
    ------
    UserError
        If they are none.
    """
    try:
        widths = tuple(int(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise UserError(f"The widths {text!r} can't be used: {WIDTHS_WANTED}.") from error
    if not 2 <= len(widths) <= 9 or not all(1 <= width <= 8192 for width in widths):
        raise UserError(f"The widths {text!r} can't be used: {WIDTHS_WANTED}.")
    return widths


def parsed_classes(text: str) -> tuple[str, ...]:
    """Names of classes, with commas between them.

    Raises
    ------
    UserError
        If there is none, or one is there twice.
    """
    classes = tuple(word.strip() for word in text.split(","))
    if not all(classes):
        raise UserError("A name of what it finds is missing: give one or more, like cell, nucleus.")
    if len(set(classes)) < len(classes):
        raise UserError("What it finds has one name twice: give each class a name of its own.")
    return classes


def checked_name(name: str, store: Store) -> str:
    """The name of a model that is to be.

    Raises
    ------
    UserError
        If it is empty, taken, or can't be one.
    """
    name = name.strip()
    if not name:
        raise UserError("Give the model a name.")
    store.free_path(name)
    return name


def spec_of(new: NewModel, like: ModelSpec) -> ModelSpec:
    """What a new model says about itself before it has learnt anything.

    Parameters
    ----------
    new : NewModel
        What is to be made.
    like : ModelSpec
        Of the model whose images it is for: it looks at as many channels, and in 2D or 3D.

    Raises
    ------
    UserError
        If there can't be such a network.
    """
    fields: dict[str, Any] = {
        "name": new.name,
        "classes": new.classes,
        "architecture": new.architecture,
        "widths": new.widths,
        "supervised": new.heads,
        "in_channels": like.in_channels,
        "dims": like.dims,
        "norm": like.norm,
    }
    try:
        return ModelSpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(str(first.get("ctx", {}).get("error", first["msg"]))) from error


def size_text(spec: ModelSpec, size: Size, other: str, others: Size | None) -> str:
    """A network and its size in a sentence, with the arithmetic of `other` if it is known."""
    heads = "head" if len(spec.heads) == 1 else "heads"
    pixel = "megapixel" if spec.dims == 2 else "megavoxel"
    beside = "" if others is None else f" ({other}: {_number(others.gflop)})"
    return (
        f"{spec.architecture.in_words()}, {heads} {spec.heads_in_words}: "
        f"{_number(size.parameters)} parameters, {_number(size.gflop)} GFLOP per {pixel}{beside}."
    )


def _number(value: float) -> str:
    """Like 2 263 476, or 0.4: just small ones have digits after the point."""
    if value < 10 and value != int(value):
        return f"{value:.1f}"
    return f"{value:,.0f}".replace(",", " ")
