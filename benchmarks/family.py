"""Parameters, arithmetic, memory and halo of the networks of the family: counted, not measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from benchmarks.sheet import Sheet
from napari_unetpp.inference.memory import OVERHEAD, channels_at_peak
from napari_unetpp.inference.tiles import halo
from napari_unetpp.models import ModelSpec
from napari_unetpp.network.architecture import (
    NETWORKS,
    USUAL,
    Architecture,
    Block,
    Down,
    Skip,
    Up,
    fitting_up,
)

SIDE = 512
"""Of the plane, in pixels."""
COLUMNS = ("parameters", "of L1 … L4", f"GFLOP at {SIDE}²", f"MB at {SIDE}²", "halo, px")
NOTE = (
    "One input channel, one class, no norm, the head L4 alone; in millions for L1 … L4, where "
    "there are these. MB: the model of memory that chooses tiles, in fp32. Halo: on one side."
)


def sheets() -> list[Sheet]:
    """The networks of the papers, and UNet++ with one part after the other of another kind."""
    papers = {name: (p.widths, Architecture(skip=p.skip)) for name, p in NETWORKS.items()}
    parts = {name: (USUAL, kinds) for name, kinds in _one_part_changed()}
    return [
        Sheet("family: networks of the papers", ("network", *COLUMNS), [*_rows(papers)], NOTE),
        Sheet("family: UNet++, one part changed", ("part", *COLUMNS), [*_rows(parts)], NOTE),
    ]


def _one_part_changed() -> Iterator[tuple[str, Architecture]]:
    for skip in get_args(Skip):
        yield f"skip {skip}", Architecture(skip=skip)
    for block in get_args(Block):
        yield f"block {block}", Architecture(block=block)
    for down in get_args(Down):
        yield f"down {down}", Architecture(down=down, up=fitting_up(down))
    for up in get_args(Up):
        if up != "none":
            yield f"up {up}", Architecture(up=up)


def _rows(
    networks: dict[str, tuple[Sequence[int], Architecture]],
) -> Iterator[tuple[str, ...]]:
    import torch

    from napari_unetpp.evaluation.depths import parameter_count
    from napari_unetpp.models.file import build_network
    from napari_unetpp.network.cost import multiply_adds

    for name, (widths, kinds) in networks.items():
        spec = ModelSpec(name="counted", widths=tuple(widths), norm=None, architecture=kinds)
        with torch.device("meta"):
            network = build_network(spec)
            counts = [parameter_count(network.pruned(k)) for k in spec.heads]
        deepest = spec.heads[-1]
        values = channels_at_peak(spec, deepest, SIDE) * SIDE**2
        yield (
            name,
            f"{counts[-1]:,}".replace(",", " "),
            " / ".join(f"{n / 1e6:.2f}" for n in counts) if len(counts) > 1 else "–",
            f"{2 * multiply_adds(network, deepest) * SIDE**2 / 1e9:.1f}",
            f"{OVERHEAD * values * 4 / 1e6:.0f}",
            str(halo(deepest, kinds)),
        )
