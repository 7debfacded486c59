"""The family as data: which nodes a network has, what each reads, and what it is made of.

Every network here is the same grid of nodes ``X[i][j]`` (row `i`, the number of down-samplings;
column `j`, the place along the skip). A kind of skip is no more than the rule of which nodes there
are and which of its row a node takes; the other kinds name the layers. Nothing of this needs torch,
so that it is known before that is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

Skip = Literal["none", "plain", "unet+", "aggregation", "nested"]
Block = Literal["plain", "residual", "dense", "grouped"]
Down = Literal["max", "average", "l2", "strided", "dilated"]
Up = Literal["transposed", "nearest", "sub-pixel", "unpooling", "none"]
Place = tuple[int, int]
"""Row and column of a node."""

SEEN = 2
"""Pixels that a node sees around each of its own, at the resolution of its row: two 3×3
convolutions, or fewer."""


@dataclass(frozen=True, kw_only=True)
class SkipKind:
    """Which nodes there are, and what they take.

    Attributes
    ----------
    name : str
        Of the networks with such skips.
    nested : bool
        Whether there are all nodes with ``i + j <= depth``, and so a head in each column; else
        just the encoder and the last node of each row.
    columns : callable
        Of its row, the columns whose nodes ``X[i][j]`` takes beside what is sampled up.
    node : str, optional
        What the nodes beyond the encoder are made of, if not of what the encoder's are.
    """

    name: str
    nested: bool
    columns: Callable[[int], Sequence[int]]
    node: str | None = None


@dataclass(frozen=True, kw_only=True)
class SamplingKind:
    """How the way between two rows is geometrically.

    Attributes
    ----------
    name : str
        In words.
    factor : int
        How many pixels along an axis become one, or one becomes.
    seen : int
        Pixels that it sees around those, at the resolution that it reads.
    """

    name: str
    factor: int = 2
    seen: int = 0


SKIPS: dict[str, SkipKind] = {
    "none": SkipKind(name="encoder-decoder", nested=False, columns=lambda j: ()),
    "plain": SkipKind(name="U-Net", nested=False, columns=lambda j: (0,)),
    "unet+": SkipKind(name="UNet+", nested=True, columns=lambda j: (j - 1,)),
    "aggregation": SkipKind(
        name="deep layer aggregation", nested=True, columns=lambda j: (j - 1,), node="aggregation"
    ),
    "nested": SkipKind(name="UNet++", nested=True, columns=range),
}
DOWNS: dict[str, SamplingKind] = {
    "max": SamplingKind(name="max pooling"),
    "average": SamplingKind(name="average pooling"),
    "l2": SamplingKind(name="L2-norm pooling"),
    "strided": SamplingKind(name="strided convolution", seen=1),
    "dilated": SamplingKind(name="dilated convolutions in place of down-sampling", factor=1),
}
UPS: dict[str, SamplingKind] = {
    "transposed": SamplingKind(name="transposed convolution"),
    "nearest": SamplingKind(name="nearest neighbour"),
    "sub-pixel": SamplingKind(name="sub-pixel convolution", seen=1),
    "unpooling": SamplingKind(name="unpooling"),
    "none": SamplingKind(name="no up-sampling", factor=1),
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a network of the family is, but for its size.

    Attributes
    ----------
    skip : {"none", "plain", "unet+", "aggregation", "nested"}
        "plain" is U-Net's (Ronneberger et al., 2015), "nested" UNet++'s (Zhou et al., 2018), and
        "unet+" UNet+'s: each node takes just its neighbour (Zhou et al., 2020). "aggregation" is
        wired in the same way, with a single convolution in each node beyond the encoder: iterative
        deep aggregation (Yu et al., 2018; `IDAUp` of the authors' code).
    block : {"plain", "residual", "dense", "grouped"}
        What a node is made of, see `network.blocks`.
    groups : int
        Into so many parts the 3×3 convolutions of "grouped" divide their channels.
    down, up : str
        How to come from one row to the next, see `network.sampling`. With "dilated" convolutions
        all rows have the full size, and `up` is "none".

    Raises
    ------
    ValueError
        If there is no such kind, or the kinds don't go together; in one sentence.
    """

    skip: Skip = "nested"
    block: Block = "plain"
    groups: int = 8
    down: Down = "max"
    up: Up = "transposed"

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        for name, kinds in (("skip", Skip), ("block", Block), ("down", Down), ("up", Up)):
            known, value = get_args(kinds), getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"There is no {name} {value!r} in the family: choose one of {', '.join(known)}."
                )
        if self.groups < 1:
            raise ValueError(f"groups is {self.groups}; give 1 or more.")
        if self.block != "grouped" and self.groups != Architecture.groups:
            raise ValueError(
                f"The block {self.block!r} has no groups: give the block 'grouped', or no groups."
            )
        if self.down == "dilated" and self.up != "none":
            raise ValueError(
                f"Dilated convolutions leave every row at its full size, so there is nothing for "
                f"up {self.up!r} to sample up: give up 'none'."
            )
        if self.up == "none" and self.down != "dilated":
            raise ValueError(
                f"With down {self.down!r} the rows have to be sampled up again: give another up "
                "than 'none', which is for down 'dilated'."
            )
        if self.up == "unpooling" and self.down != "max":
            raise ValueError(
                f"Unpooling puts values back to where max pooling took them from, which down "
                f"{self.down!r} doesn't know: give down 'max', or another up."
            )

    def check(self, widths: Sequence[int], heads: Sequence[int] | None = None) -> None:
        """Refuse widths and heads that don't fit.

        Raises
        ------
        ValueError
            If they don't; in one sentence.
        """
        if self.block == "grouped" and any(width % self.groups for width in widths):
            raise ValueError(
                f"The widths {_listed(widths)} can't be divided into {self.groups} groups: give "
                f"multiples of {self.groups}, or other groups."
            )
        if self.block == "dense" and min(widths) < 2:
            raise ValueError(
                "A dense block gives a half of its channels from each of two convolutions: give "
                "widths of 2 or more."
            )
        depth, there = len(widths) - 1, self.heads(len(widths) - 1)
        if heads is None or (heads and set(heads) <= set(there)):
            return
        if not self.kind.nested and set(heads) <= set(range(1, depth + 1)):
            raise ValueError(
                f"heads is {tuple(heads)}, but with the skips {self.skip!r} just the last column "
                f"reaches the full size: give heads ({depth},), or nested skips."
            )
        raise ValueError(f"heads is {tuple(heads)}; give heads from 1 to the depth, {depth}.")

    @property
    def kind(self) -> SkipKind:
        """What the skips are."""
        return SKIPS[self.skip]

    @property
    def factor(self) -> int:
        """How many pixels along an axis one of the next row is as large as."""
        return DOWNS[self.down].factor

    def heads(self, depth: int, chosen: Sequence[int] | None = None) -> tuple[int, ...]:
        """The numbers of the heads chosen, in order; by default all that there can be."""
        if chosen is not None:
            return tuple(sorted(set(chosen)))
        return tuple(range(1, depth + 1)) if self.kind.nested else (depth,)

    def block_in(self, column: int) -> str:
        """What the nodes of a column are made of, see `network.blocks`."""
        return (self.kind.node if column > 0 else None) or self.block

    def shrink(self, row: int) -> int:
        """How many pixels of the input a pixel of a row is as large as, along an axis."""
        return int(self.factor**row)

    def dilation(self, row: int) -> int:
        """Of the convolutions in a row: where nothing is sampled down, they reach as far so."""
        return 1 << row if self.down == "dilated" else 1

    def in_words(self) -> str:
        """The name of the network, and the parts that aren't U-Net's."""
        parts = [
            "" if self.block == Architecture.block else f"{self.block} blocks",
            f"{self.groups} groups" if self.block == "grouped" else "",
            "" if self.down == Architecture.down else DOWNS[self.down].name,
            "" if self.up in (Architecture.up, "none") else UPS[self.up].name,
        ]
        return ", ".join([self.kind.name, *(part for part in parts if part)])


UNETPP = Architecture()
"""The network of the slides."""


@dataclass(frozen=True)
class Step:
    """A node on its turn.

    Attributes
    ----------
    place : Place
        Of the node.
    source : Place, optional
        The node that is sampled down to it (in the encoder) or up; none for the input.
    skips : tuple of Place
        The nodes of its row that it takes.
    guide : Place, optional
        The node from whose maxima unpooling knows where to put values.
    last : tuple of Place
        The nodes that no later one reads.
    """

    place: Place
    source: Place | None
    skips: tuple[Place, ...]
    guide: Place | None
    last: tuple[Place, ...] = ()

    @property
    def reads(self) -> tuple[Place, ...]:
        """All the nodes that it reads."""
        return tuple(p for p in (self.source, *self.skips, self.guide) if p is not None)


@lru_cache(maxsize=64)
def schedule(architecture: Architecture, depth: int) -> tuple[Step, ...]:
    """The nodes that head `depth` needs, diagonal by diagonal: each head as early as it can be."""
    steps = [_step(architecture, place) for place in grid(depth, nested=architecture.kind.nested)]
    last = {place: step for step in steps for place in step.reads}
    return tuple(
        Step(
            step.place,
            step.source,
            step.skips,
            step.guide,
            tuple(place for place in dict.fromkeys(step.reads) if last[place] is step),
        )
        for step in steps
    )


def grid(depth: int, *, nested: bool = True) -> Iterator[Place]:
    """The places `(i, j)` of the nodes of a network, diagonal by diagonal."""
    for diagonal in range(depth + 1):
        for j in range(diagonal + 1):
            if nested or j == 0 or diagonal == depth:
                yield diagonal - j, j


def _step(architecture: Architecture, place: Place) -> Step:
    i, j = place
    if j == 0:
        return Step(place, (i - 1, 0) if i > 0 else None, (), None)
    skips = tuple((i, column) for column in architecture.kind.columns(j))
    return Step(place, (i + 1, j - 1), skips, (i, 0) if architecture.up == "unpooling" else None)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def fitting_up(down: Down) -> Up:
    """How to sample up where nobody says it."""
    return "none" if down == "dilated" else "transposed"


@dataclass(frozen=True)
class Preset:
    """A network of the papers: its skips and widths."""

    skip: Skip
    widths: tuple[int, ...]


USUAL = (32, 64, 128, 256, 512)
NETWORKS: dict[str, Preset] = {
    "u-net": Preset("plain", USUAL),
    "wide-u-net": Preset("plain", (35, 70, 140, 280, 560)),
    "unet+": Preset("unet+", USUAL),
    "unet++": Preset("nested", USUAL),
}
