"""What a model file says about itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

TRAINED, FINE_TUNED = "trained", "fine-tuned"
"""What the history of a model tells of."""

FORMAT = 1
"""Version of the file format. A file with a higher one is refused as too new."""

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
    normalisation: Normalisation = Normalisation()
    history: tuple[HistoryEntry, ...] = ()
    format: int = FORMAT

    @model_validator(mode="after")
    def _voxels_are_of_volumes(self) -> ModelSpec:
        if self.voxel_size is not None and self.dims != 3:
            raise ValueError("a voxel size is for volumes, and this model is for planes")
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
        """The number of the deepest head."""
        return len(self.widths) - 1
