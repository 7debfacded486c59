"""What `segment` costs over the bare network, and how many pixels the tiling computes."""

from __future__ import annotations

import numpy as np

from benchmarks.common import (
    Floats,
    Precision,
    in_child,
    interleaved,
    mosaic,
    precision_of_cpu,
    precisions,
    ratio,
    seconds_of,
    the_model,
    the_spec,
)
from benchmarks.parts import ANSWERS, NETWORK, clocks
from benchmarks.sheet import Sheet, verdict
from napari_unetpp.inference.options import SegmentOptions
from napari_unetpp.inference.tiles import Tile, best_sides, overlap_for, plan_tiles

MOST_OVERHEAD = 1.15
MOST_PIXELS = 1.35
SIZES = (1024, 2048, 4096, 8192)


def sheets(*, size: int = 2048, rounds: int = 3, fp32: bool = False) -> list[Sheet]:
    """Overhead of `segment` with the precision that users get, where it is, and pixels of tiles.

    Parameters
    ----------
    size : int
        Side of the plane, in pixels.
    rounds : int
        How often each is run, by turns.
    fp32 : bool
        Take fp32 although the CPU has bf16.
    """
    precision: Precision = "fp32" if fp32 else in_child(precisions)[-1]
    times, parts = in_child(measure, precision, size, rounds)
    return [_overhead(precision, size, rounds, times), _parts(times, parts), _pixels()]


def measure(
    precision: Precision, size: int, rounds: int
) -> tuple[dict[str, Floats], dict[str, float]]:
    """Seconds of the bare network and of `segment`; and of the parts of one more `segment`."""
    import torch

    from napari_unetpp.inference import predict
    from napari_unetpp.inference.devices import choose_device, prepared, tune_allocator
    from napari_unetpp.inference.normalise import find_limits, normalise

    tune_allocator()
    image, model = mosaic(size, size), the_model()
    plane = normalise(image, find_limits(image, model.spec.normalisation))
    options = SegmentOptions(device="cpu")
    with precision_of_cpu(precision):
        device = choose_device("cpu")
        network = prepared(model.network, device)
        batches = [
            torch.from_numpy(plane[tile.region].copy())[None, None]
            .to(device.dtype)
            .to(memory_format=torch.channels_last)
            for tile in tiles_of(size, model.spec.depth)
        ]

        def bare() -> None:
            with torch.inference_mode():
                for batch in batches:
                    for _ in network.heads(batch):
                        pass

        def whole() -> None:
            predict.segment(image, model, options=options)

        times = interleaved(
            {"bare": lambda: [seconds_of(bare)], "segment": lambda: [seconds_of(whole)]}, rounds
        )
        with clocks() as spent:
            total = seconds_of(whole)
    spent[ANSWERS] -= spent[NETWORK]
    return times, {**spent, "everything else": total - sum(spent.values())}


def the_tile(depth: int) -> int:
    """The side of the tiles that `segment` takes on this CPU, run to a head; loads torch."""
    from napari_unetpp.inference.devices import choose_device
    from napari_unetpp.inference.memory import tile_for

    return tile_for(the_spec(), depth, choose_device("cpu"))


def tiles_of(size: int, depth: int) -> list[Tile]:
    """The tiles that `segment` takes for a square plane, by default."""
    whole = slice(0, size)
    stride = 2 ** the_spec().depth
    side, overlap = the_tile(depth), overlap_for(depth)
    sides = best_sides((size, size), tile=side, overlap=overlap, stride=stride)
    return plan_tiles((whole, whole), tile=sides, overlap=overlap, stride=stride)


def _overhead(precision: str, size: int, rounds: int, times: dict[str, Floats]) -> Sheet:
    value, words = ratio(times["segment"], times["bare"])
    seconds = (f"{np.median(times[name]):.2f}" for name in ("bare", "segment"))
    row = (precision, *seconds, words, f"≤ {MOST_OVERHEAD}", verdict(value <= MOST_OVERHEAD))
    return Sheet(
        f"pipeline: segment to the deepest head, {size} × {size} uint16, CPU",
        ("precision", "bare network, s", "segment, s", "ratio", "goal", "met"),
        [row],
        f"{rounds} rounds by turns in one process; the same tiles, for the bare network as tensors "
        "that lie ready.",
    )


def _parts(times: dict[str, Floats], parts: dict[str, float]) -> Sheet:
    bare = float(np.median(times["bare"]))
    rows = [
        (part, f"{1e3 * seconds:.0f}", f"{100 * seconds / bare:.1f}")
        for part, seconds in sorted(parts.items(), key=lambda item: -item[1])
    ]
    note = "One more run, with a clock around each part."
    return Sheet("pipeline: where the time goes", ("part", "ms", "% of bare"), rows, note)


def _pixels() -> Sheet:
    depths = range(1, the_spec().depth + 1)
    rows = []
    for size in SIZES:
        shares = []
        for depth in depths:
            tiles = tiles_of(size, depth)
            computed = sum(
                (r.stop - r.start) * (c.stop - c.start) for r, c in (t.region for t in tiles)
            )
            shares.append(computed / size**2)
        cells = (f"{share:.3f}" for share in shares)
        met = verdict(shares[-1] <= MOST_PIXELS) if size == 2048 else ""
        rows.append((f"{size} × {size}", str(len(tiles)), *cells, met))
    return Sheet(
        "pipeline: pixels computed over pixels of the image, tiles as they fit into memory",
        ("image", "tiles at the deepest", *(f"to L{k}" for k in depths), f"met (≤ {MOST_PIXELS})"),
        rows,
    )
