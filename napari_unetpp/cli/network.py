"""Which network: the options that several commands have, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from napari_unetpp.errors import UserError
from napari_unetpp.models import ModelSpec
from napari_unetpp.network.architecture import (
    NETWORKS,
    Architecture,
    Block,
    Down,
    Skip,
    Up,
    fitting_up,
)

NetworkOption = Annotated[
    Literal["u-net", "wide-u-net", "unet+", "unet++"],
    typer.Option(help="Of the papers: its skips, and its widths unless you give others."),
]
SkipOption = Annotated[
    Skip | None, typer.Option(help="Other skips than NETWORK's; aggregation is DLA's.")
]
BlockOption = Annotated[Block, typer.Option(help="What a node is made of.")]
GroupsOption = Annotated[
    int, typer.Option(min=1, help="Of the channels, for grouped blocks; they divide the widths.")
]
DownOption = Annotated[
    Down, typer.Option(help="Down-sampling; dilated convolutions take its place, at full size.")
]
UpOption = Annotated[
    Up | None,
    typer.Option(help="Up-sampling: transposed, and none where nothing is sampled down."),
]
HeadsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N,…", help="Numbers of the heads, like 4 for no deep supervision; else all."
    ),
]
WidthsOption = Annotated[
    str | None,
    typer.Option(
        help="Channels of the rows of the network, one more than it goes down: else NETWORK's, "
        "like 32,64,128,256,512."
    ),
]
WANTED = {
    "name": "begin with a letter or digit, and use letters, digits, spaces and . _ + -",
    "widths": "give two to nine whole numbers like 32,64,128,256,512",
    "heads": "give whole numbers like 4 or 1,2,3,4",
    "voxel size": "give three lengths in µm above 0, along Z, Y and X, like 0.5,0.5,0.5",
}
"""What to say where something can't be used."""


def network_fields(
    network: str,
    *,
    skip: Skip | None,
    block: Block,
    groups: int,
    down: Down,
    up: Up | None,
    widths: str | None,
    heads: str | None,
) -> dict[str, Any]:
    """The fields of a `ModelSpec` that say which network it is.

    Raises
    ------
    UserError
        If the kinds don't go together.
    """
    preset = NETWORKS[network]
    try:
        architecture = Architecture(
            skip=skip or preset.skip,
            block=block,
            groups=groups,
            down=down,
            up=up or fitting_up(down),
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return {
        "architecture": architecture,
        "widths": preset.widths if widths is None else widths.split(","),
        "supervised": None if heads is None else heads.split(","),
    }


def spec_of(fields: Mapping[str, Any]) -> ModelSpec:
    """A spec with these fields, as they are given on the command line.

    Raises
    ------
    UserError
        If there can't be such a model: the first reason.
    """
    try:
        return ModelSpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # fields that don't go together have a sentence of their own
            raise UserError(str(first["ctx"]["error"])) from error
        field = str(first["loc"][0])
        option = {"supervised": "heads"}.get(field, field).replace("_", " ")
        value = fields[field]
        shown = value if isinstance(value, str) else ",".join(map(str, value))
        raise UserError(f"The {option} {shown!r} can't be used: {WANTED[option]}.") from error
