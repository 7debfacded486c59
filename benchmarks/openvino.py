"""OpenVINO and its int8 against our engine: what it costs in IoU, and what it gains in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import quantised
from benchmarks.common import (
    clock_for,
    in_child,
    mosaic,
    ratio,
    seconds_of,
    the_model,
    the_spec,
    threads,
)
from benchmarks.engine import VARIANTS, make_network
from benchmarks.quantised import FP32, INT8, FloatArray, OpenVino, prepare
from benchmarks.sheet import Sheet, verdict
from napari_unetpp.evaluation.metrics import PixelCounts
from napari_unetpp.files import find_pairs, read_image

LARGEST_FALL = 0.003
"""Of the IoU of a head against torch in fp32, for int8 to be offered."""
LEAST_GAIN = 1.3
"""How many times as fast as our engine, at least."""
SIDES = ((512, 512), (1024, 1024))
REPEATS = 3
"""Runs in each child, after one that isn't counted."""
OURS, TORCH, TORCH_BF16 = "ours", "torch fp32", "torch bf16"
BF16 = "bf16"
Run = Callable[[FloatArray], list[FloatArray]]
Scores = dict[str, list[tuple[float, float]]]
"""IoU of each head, and the share of its labels that are others than in torch fp32."""


def sheets(
    data: Path,
    *,
    folder: Path,
    patches: int = 100,
    rounds: int = 3,
    parts: tuple[str, ...] = ("scores", "speed"),
    busy: bool = False,
) -> list[Sheet]:
    """Scores on `dsb2018` in this folder, and times; quantised graphs are kept in `folder`.

    Parameters
    ----------
    data : Path
        Folder with dsb2018.
    folder : Path
        For graphs; what is there isn't made again.
    patches : int
        Of the training images, to calibrate on.
    rounds : int
        Children of each engine.
    parts : tuple of {"scores", "speed"}
        What is measured.
    busy : bool
        See `clock_for`.
    """
    if problem := in_child(problem_with, data):
        return [Sheet("openvino: left out", ("", ""), [], problem)]
    graphs = in_child(prepare, data / "dsb2018", folder, patches)
    tables = []
    if "scores" in parts:
        tables += _scores(score(data / "dsb2018" / "val", graphs))
    if "speed" in parts:
        tables += [_speed(graphs, plane, rounds, busy=busy) for plane in SIDES]
    return tables


def score(folder: Path, graphs: dict[str, Path]) -> Scores:
    """All images of a split through each engine; a child for each, as OpenVINO keeps its memory."""
    engines: dict[str, Path | str] = {TORCH: "fp32", TORCH_BF16: "bf16"}
    engines |= {f"OpenVINO {BF16 if name == FP32 else name}": path for name, path in graphs.items()}
    found: Scores = {}
    reference: list[NDArray[np.uint8]] = []
    for name, engine in engines.items():
        counts, masks, pixels = in_child(through, folder, engine)
        reference = reference or masks
        flips = sum(
            np.bitwise_count(one ^ other).sum(axis=1, dtype=float)
            for one, other in zip(masks, reference, strict=True)
        )
        found[name] = [(c.iou, f / pixels) for c, f in zip(counts, flips, strict=True)]
    return found


def through(
    folder: Path, engine: Path | str
) -> tuple[list[PixelCounts], list[NDArray[np.uint8]], int]:
    """All images of a split through one engine.

    Parameters
    ----------
    folder : Path
        With images and labels.
    engine : Path or {"fp32", "bf16"}
        A graph, or torch.

    Returns
    -------
    tuple
        Counts of each head; of each image the masks ``(head, …)``, eight pixels a byte; and how
        many pixels there are.
    """
    how, heads = the_spec().normalisation, the_spec().depth
    run = ours(engine) if isinstance(engine, str) else OpenVino(engine, "bf16")
    counts, masks, pixels = [PixelCounts()] * heads, [], 0
    for image_path, label_path in find_pairs(folder / "images", folder / "labels"):
        plane, truth = quantised.normalised(image_path, how), read_image(label_path).data > 0
        inside = tuple(slice(0, side) for side in truth.shape)
        found = np.stack([values[inside] >= 0.5 for values in run(plane)])
        parts = [PixelCounts.of(mask, truth) for mask in found]
        counts = [a + b for a, b in zip(counts, parts, strict=True)]
        masks.append(np.packbits(found.reshape(heads, -1), axis=1))
        pixels += truth.size
    return counts, masks, pixels


def ours(name: str, clock: Callable[[], object] = lambda: None) -> Run:
    """All heads in one pass as the engine does it; `clock` is called when each head is there."""
    import torch

    network = make_network(the_model().network, VARIANTS[name])
    dtype = torch.bfloat16 if name == "bf16" else torch.float32

    def run(plane: FloatArray) -> list[FloatArray]:
        found = []
        with torch.inference_mode():
            x = torch.from_numpy(plane)[None].to(dtype).to(memory_format=torch.channels_last)
            for logits in network.heads(x):
                found.append(logits[0, 0].float().sigmoid().numpy())
                clock()
        return found

    return run


def time_ours(plane: tuple[int, int], repeats: int, *, busy: bool = False) -> list[float]:
    """Median seconds until each head is there, of one pass in bf16; in a child of its own."""
    from napari_unetpp.inference.devices import tune_allocator

    clock = clock_for(busy=busy)
    tune_allocator()
    moments: list[float] = []
    run, image = ours("bf16", lambda: moments.append(clock())), _image(plane)
    run(image)
    found = []
    for _ in range(repeats):
        moments.clear()
        started = clock()
        run(image)
        found.append([moment - started for moment in moments])
    return [float(seconds) for seconds in np.median(found, axis=0)]


def time_openvino(
    graph: Path, plane: tuple[int, int], repeats: int, *, busy: bool = False
) -> list[float]:
    """Median seconds of each head alone, then of all in one pass; in a child of its own."""
    clock = clock_for(busy=busy)
    image, found = _image(plane), []
    for head in (*range(1, the_spec().depth + 1), None):
        run = OpenVino(graph, "bf16", head)
        run(image)
        times = [seconds_of(lambda: run(image), clock) for _ in range(repeats)]  # noqa: B023
        found.append(float(np.median(times)))
    return found


def _image(plane: tuple[int, int]) -> FloatArray:
    """Real nuclei, as what is sparse might be quicker."""
    return (mosaic(*plane)[None] / 255).astype(np.float32).clip(0, 1)


def problem_with(data: Path) -> str:
    """Why it can't be measured, in a sentence; empty if it can."""
    try:
        quantised.require()
    except quantised.MissingError as error:
        return str(error)
    if not (data / "dsb2018" / "index.csv").is_file():
        return f"There is no dsb2018 with an index.csv in {data}: give the folder that holds it."
    return ""


def _scores(found: Scores) -> list[Sheet]:
    heads = [f"L{k}" for k in range(1, the_spec().depth + 1)]
    reference = [iou for iou, _ in found[TORCH]]
    scores, flips = [], []
    for name, values in found.items():
        falls = [before - iou for before, (iou, _) in zip(reference, values, strict=True)]
        cells = [f"{iou:.4f} ({0 - f:+.4f})" for (iou, _), f in zip(values, falls, strict=True)]
        scores.append((name, *cells, verdict(max(falls) < LARGEST_FALL) if INT8 in name else ""))
        flips.append((name, *(f"{share:.3%}" for _, share in values)))
    note = f"Over all pixels, and the change against {TORCH}. Goal: it falls by < {LARGEST_FALL}."
    return [
        Sheet("openvino: IoU on dsb2018/val", ("engine", *heads, "met"), scores, note),
        Sheet(f"openvino: labels other than those of {TORCH}", ("engine", *heads), flips),
    ]


def _speed(
    graphs: dict[str, Path], plane: tuple[int, int], rounds: int, *, busy: bool = False
) -> Sheet:
    int8 = next(path for name, path in graphs.items() if INT8 in name)
    tasks = {
        OURS: lambda: in_child(time_ours, plane, REPEATS, busy=busy),
        BF16: lambda: in_child(time_openvino, graphs[FP32], plane, REPEATS, busy=busy),
        INT8: lambda: in_child(time_openvino, int8, plane, REPEATS, busy=busy),
    }
    times: dict[str, list[list[float]]] = {name: [] for name in tasks}
    for number in range(rounds):
        turn = number % len(tasks)
        for name in (*list(tasks)[turn:], *list(tasks)[:turn]):
            times[name].append(tasks[name]())
    arrays = {name: np.asarray(values) for name, values in times.items()}
    torch = arrays.pop(OURS)
    torch = np.column_stack([torch, torch[:, -1]])  # all in one pass, which takes as long as L4
    megapixels = plane[0] * plane[1] / 1e6
    rows = []
    for number in range(torch.shape[1]):
        row = [f"{1e3 * np.median(torch[:, number]) / megapixels:.0f}"]
        gain = 0.0
        for array in arrays.values():
            gain, words = ratio(torch[:, number], array[:, number])
            row += [f"{1e3 * np.median(array[:, number]) / megapixels:.0f}", words]
        last = number == torch.shape[1] - 1
        head = "all in one pass" if last else f"L{number + 1} alone"
        rows.append((head, *row, verdict(gain >= LEAST_GAIN)))
    columns = [f"{OURS} bf16, ms / megapixel"]
    for name in arrays:
        columns += [f"OpenVINO {name}", "times as fast"]
    return Sheet(
        f"openvino: {plane[0]} × {plane[1]}, batch 1, {threads(busy=busy)}",
        ("head", *columns, f"int8 ≥ {LEAST_GAIN}"),
        rows,
        "Ours: when each head is there, of one pass for all. OpenVINO: a graph for each head, and "
        "one for all, which gives every head at its end.",
    )
