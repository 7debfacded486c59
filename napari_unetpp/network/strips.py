"""A node that is sampled up to, computed strip by strip: its input would be the largest tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_unetpp.network.architecture import SEEN, UPS, Architecture

STRIP = 128
"""Rows of a strip: few enough to save most of the memory, and so many that little is done twice."""


@dataclass(frozen=True)
class Reach:
    """What a strip needs beyond its own rows.

    Attributes
    ----------
    node : int
        Rows that the node's convolutions see on either side.
    up : int
        Rows that the up-sampling sees on either side, at the resolution below.
    factor : int
        How many rows a row from below becomes.
    """

    node: int = SEEN
    up: int = 0
    factor: int = 2

    @classmethod
    def of(cls, architecture: Architecture, row: int) -> Reach:
        """Of the nodes of a row."""
        up = UPS[architecture.up]
        return cls(SEEN * architecture.dilation(row), up.seen, up.factor)


def joined(
    node: nn.Module,
    up: nn.Module,
    below: Tensor,
    skips: Sequence[Tensor],
    *,
    size: torch.Size,
    reach: Reach,
    guide: Tensor | None = None,
) -> Tensor:
    """``X[i][j]`` from ``X[i+1][j-1]``, which is sampled up, and nodes of its row.

    Where no gradient is wanted it is made strip by strip along the first spatial axis, as the
    concatenation would be the largest tensor by far. Each strip has the rows around it that the
    node's convolutions see.

    Parameters
    ----------
    node, up : Module
        Of the node.
    below, skips : Tensor
        What it takes, ``(b, c, *spatial)``.
    size : Size
        The spatial shape of the row.
    reach : Reach
        How far node and up-sampling see.
    guide : Tensor, optional
        For up-sampling that goes by a node of the row.
    """
    rows = size[0]
    if torch.is_grad_enabled() or rows <= STRIP * 1.5:
        sampled = up(below) if guide is None else up(below, guide)
        return _node_of(node, sampled, skips, size)
    out: Tensor | None = None
    for start in range(0, rows, STRIP):
        stop = min(start + STRIP, rows)
        first, last = max(start - reach.node, 0), min(stop + reach.node, rows)
        parts = [skip.narrow(2, first, last - first) for skip in skips]
        sampled = _sampled(up, below, guide, reach, first, last)
        found = _node_of(node, sampled, parts, torch.Size((last - first, *size[1:])))
        found = found.narrow(2, start - first, stop - start)
        if out is None:
            out = torch.empty(
                (*found.shape[:2], *size),
                dtype=found.dtype,
                device=found.device,
                memory_format=_format_of((*skips, below)[0]),
            )
        out.narrow(2, start, stop - start).copy_(found)
    assert out is not None
    return out


def _node_of(node: nn.Module, sampled: Tensor, skips: Sequence[Tensor], size: torch.Size) -> Tensor:
    """The node's output, from what was sampled up and from its skips."""
    sampled = crop_to(sampled, size)
    found: Tensor = node(torch.cat([sampled, *skips], dim=1) if skips else sampled)
    return found


def _sampled(
    up: nn.Module, below: Tensor, guide: Tensor | None, reach: Reach, first: int, last: int
) -> Tensor:
    """What comes up for the rows from `first`, which the factor divides, to `last` or beyond."""
    factor = reach.factor
    start = max(first // factor - reach.up, 0)
    stop = min(-(-last // factor) + reach.up, below.shape[2])
    part = below.narrow(2, start, stop - start)
    if guide is None:
        found: Tensor = up(part)
    else:
        upper = min(stop * factor, guide.shape[2])
        found = up(part, guide.narrow(2, start * factor, upper - start * factor))
    before = first - start * factor
    return found.narrow(2, before, found.shape[2] - before)


def _format_of(x: Tensor) -> torch.memory_format:
    """How a tensor lies in memory: its channels first or last."""
    if x.is_contiguous():
        return torch.contiguous_format
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d


def crop_to(x: Tensor, size: torch.Size) -> Tensor:
    """Cut the far ends of the spatial axes to a size (after rounding up)."""
    if torch.compiler.is_compiling():
        # Lengths are symbols then. To compare or to slice them would tie the graph to the odd or
        # even lengths of the example; to pick pixels by their number doesn't.
        for axis, length in enumerate(size, start=2):
            x = x.index_select(axis, torch.arange(length, device=x.device))
        return x
    if x.shape[2:] == size:
        return x
    for axis, length in enumerate(size, start=2):
        x = x.narrow(axis, 0, length)
    return x
