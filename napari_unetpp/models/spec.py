"""What a model file says about itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from napari_unetpp.errors import UserError
from napari_unetpp.network.architecture import UNETPP, Architecture

TRAINED, FINE_TUNED = "trained", "fine-tuned"
"""What the history of a model tells of."""

FORMAT = 2
"""Version of the file format. A file with a higher one is refused as too new; those of version 1
know no other network than UNet++."""

LONGEST_NAME = 80
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$", max_length=LONGEST_NAME)
]
Width = Annotated[int, Field(ge=1, le=8192)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A validated record that can't be changed and takes no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Normalisation(Frozen):
    """How an image becomes what the network was trained on.

    Attributes
    ----------
    low, high : float
        Percentiles of the plane, in percent, that become 0 and 1.
    background : {"auto", "dark", "bright"}
        A bright background is inverted, so that the network sees objects on dark always: a head
        with a small receptive field couldn't tell the two apart. "auto" calls a background bright
        when the plane's median is nearer to the high percentile than to the low one.
    gamma : {"otsu", "none"}
        "otsu" bends the intensities so that Otsu's threshold between background and objects
        becomes 0.5, whatever the dye and the exposure; a head that sees little around a pixel can
        then go by its intensity.
    """

    low: float = Field(default=1.0, ge=0, lt=100)
    high: float = Field(default=99.8, gt=0, le=100)
    background: Literal["auto", "dark", "bright"] = "auto"
    gamma: Literal["otsu", "none"] = "otsu"

    @model_validator(mode="after")
    def _ordered(self) -> Normalisation:
        if self.low >= self.high:
            raise ValueError(f"the low percentile {self.low} is not below the high one {self.high}")
        return self


class HistoryEntry(Frozen):
    """One event in the life of a model: how it was trained or changed, and what it scored.

    Attributes
    ----------
    action : {"trained", "fine-tuned"}
        What was done.
    when : str
        ISO 8601 date and time in UTC.
    parent : str, optional
        SHA-256 of the model that this one came from.
    parent_name : str, optional
        The name that it had.
    corrections : tuple of str
        Names of the files of the corrections that it learnt from (see `CorrectionFolder`).
    contents : tuple of str
        What was in each of them, as `Correction.content` says: they may be painted on later.
    settings, scores, software : dict
        What it was done with, what was measured, and the versions used.
    """

    action: str
    when: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    parent: str | None = None
    parent_name: str | None = None
    corrections: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    software: dict[str, str] = Field(default_factory=dict)


class ModelSpec(Frozen):
    """Everything that is needed to use a model's weights, and where they come from.

    Attributes
    ----------
    name : str
        The name under which a person finds it; fine-tuning makes ``name+1``.
    description, licence, origin : str
        For the person who chooses: what it is for, the licence of the weights, the data behind it.
    in_channels : int
        Channels of the image.
    classes : tuple of str
        Name of each class; the background is none of them.
    dims : {2, 3}
        Planes or volumes.
    voxel_size : tuple of float, optional
        Lengths of a voxel in µm along Z, Y and X that a model for volumes was trained on; none if
        it takes any.
    widths : tuple of int
        Channels of the rows of the network; the depth is one less than their number.
    norm : {None, "batch"}
        Normalisation in the network.
    architecture : Architecture
        Which of the networks of the family it is.
    supervised : tuple of int, optional
        The numbers of its heads; by default all that such a network can have, see `heads`.
    normalisation : Normalisation
        Normalisation of the image.
    history : tuple of HistoryEntry
        The oldest first.
    format : int
        Version of the file format.
    """

    name: ModelName
    description: str = ""
    licence: str = ""
    origin: str = ""
    in_channels: int = Field(default=1, ge=1, le=1024)
    classes: tuple[str, ...] = Field(default=("foreground",), min_length=1, max_length=256)
    dims: Literal[2, 3] = 2
    voxel_size: tuple[Length, Length, Length] | None = None
    widths: tuple[Width, ...] = Field(default=(32, 64, 128, 256, 512), min_length=2, max_length=9)
    norm: Literal["batch"] | None = "batch"
    architecture: Architecture = UNETPP
    supervised: tuple[int, ...] | None = None
    normalisation: Normalisation = Normalisation()
    history: tuple[HistoryEntry, ...] = ()
    format: int = FORMAT

    @model_validator(mode="after")
    def _voxels_are_of_volumes(self) -> ModelSpec:
        if self.voxel_size is not None and self.dims != 3:
            raise ValueError("a voxel size is for volumes, and this model is for planes")
        return self

    @model_validator(mode="after")
    def _network_can_be(self) -> ModelSpec:
        self.architecture.check(self.widths, self.supervised)
        return self

    @property
    def parent_name(self) -> str | None:
        """The name of the model that this one was fine-tuned from, if it was."""
        return self.history[-1].parent_name if self.history else None

    @property
    def corrections(self) -> dict[str, str]:
        """Names of the files of all corrections that it and its ancestors learnt, with contents."""
        return {
            name: content
            for entry in self.history
            for name, content in zip(entry.corrections, entry.contents, strict=False)
        }

    def lineage(self, digest: str) -> str:
        """Which family a model is of: the SHA-256 of its first ancestor, or its own `digest`."""
        parents = (entry.parent for entry in self.history if entry.action == FINE_TUNED)
        return next(parents, None) or digest

    @property
    def depth(self) -> int:
        """How often the network samples down, which is the number of its deepest possible head."""
        return len(self.widths) - 1

    @property
    def heads(self) -> tuple[int, ...]:
        """The numbers of its heads, the shallowest first."""
        return self.architecture.heads(self.depth, self.supervised)

    @property
    def heads_in_words(self) -> str:
        """Like "L1 to L4", or "L4" where that is all there is."""
        first, last = self.heads[0], self.heads[-1]
        if len(self.heads) > 1 and self.heads == tuple(range(first, last + 1)):
            return f"L{first} to L{last}"
        return ", ".join(f"L{k}" for k in self.heads)

    def up_to(self, depth: int) -> tuple[int, ...]:
        """The numbers of its heads up to a depth."""
        return tuple(k for k in self.heads if k <= depth)

    def with_network(
        self,
        architecture: Architecture | None,
        widths: tuple[int, ...] | None,
        heads: tuple[int, ...] | None = None,
    ) -> ModelSpec:
        """As it is of another network, by default with all its heads; where one is none it stays.

        Raises
        ------
        UserError
            If they don't go together.
        """
        if architecture is None and widths is None and heads is None:
            return self
        architecture, widths = architecture or self.architecture, widths or self.widths
        try:
            architecture.check(widths, heads)
        except ValueError as error:
            raise UserError(str(error)) from error
        return self.model_copy(
            update={"architecture": architecture, "widths": widths, "supervised": heads}
        )

    def cut_to(self, depth: int) -> ModelSpec:
        """As it is of the network cut to the depth of one of its heads."""
        supervised = None if self.supervised is None else self.up_to(depth)
        return self.model_copy(
            update={"widths": self.widths[: depth + 1], "supervised": supervised}
        )

    def checked_depth(self, depth: int | None) -> int:
        """The head that a depth means; by default the deepest.

        Raises
        ------
        UserError
            If the model has no such head.
        """
        if depth is None:
            return self.heads[-1]
        if depth not in self.heads:
            heads = "head" if len(self.heads) == 1 else "heads"
            raise UserError(
                f"The depth is {depth}, but {self.name} has the {heads} {self.heads_in_words}: "
                f"{'take that' if len(self.heads) == 1 else 'choose one of them'}."
            )
        return depth
