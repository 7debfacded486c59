"""The benchmarks' command line: one command for each, and `all`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import cluster as cluster_
from benchmarks import engine as engine_
from benchmarks import family as family_
from benchmarks import finetune as finetune_
from benchmarks import heads as heads_
from benchmarks import large as large_
from benchmarks import learning as learning_
from benchmarks import memory as memory_
from benchmarks import openvino as openvino_
from benchmarks import paper as paper_
from benchmarks import paper_speed as paper_speed_
from benchmarks import peers as peers_
from benchmarks import pipeline as pipeline_
from benchmarks import samples as samples_
from benchmarks import tiling as tiling_
from benchmarks import uncertainty as uncertainty_
from benchmarks import volumes as volumes_
from benchmarks.common import in_child, machine
from benchmarks.sheet import Sheet, show
from benchmarks.trials import CASES

app = typer.Typer(
    name="python -m benchmarks",
    help="How fast, how lean and how right it is, measured. Leave the computer alone meanwhile.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Markdown = Annotated[bool, typer.Option("--markdown", help="Print tables as markdown.")]
Size = Annotated[int, typer.Option(min=16, help="Side of the plane, in pixels.")]
Busy = Annotated[
    bool,
    typer.Option("--busy", help="One thread, what it computes: for a computer that isn't idle."),
]
Rounds = Annotated[int, typer.Option(min=1, help="How often each is run, by turns.")]


@app.command()
def engine(
    *,
    size: Size = 512,
    rounds: Rounds = 3,
    repeats: Annotated[int, typer.Option(min=1, help="Runs in each child process.")] = 3,
    steps: Annotated[bool, typer.Option("--steps", help="Also each step to our speed.")] = False,
    markdown: Markdown = False,
) -> None:
    """Time of each head against the same weights in plain eager fp32."""
    report(lambda: engine_.sheets(size=size, rounds=rounds, repeats=repeats, steps=steps), markdown)


@app.command()
def family(*, markdown: Markdown = False) -> None:
    """Parameters, arithmetic and memory of the networks that can be chosen: counted."""
    report(family_.sheets, markdown)


@app.command()
def heads(*, size: Size = 512, rounds: Rounds = 15, markdown: Markdown = False) -> None:
    """Each head of one pass against its pruned network alone."""
    report(lambda: heads_.sheets(size=size, rounds=rounds), markdown)


@app.command()
def large(
    *,
    depth: Annotated[int, typer.Option(min=1, max=4, help="The deepest head.")] = 4,
    planes: Annotated[int, typer.Option(min=1, help="Of the first stack.")] = 4,
    more: Annotated[int, typer.Option(min=1, help="Of the second stack.")] = 8,
    side: Annotated[int, typer.Option(min=2048, help="Of the large plane.")] = 8192,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="In a napari window: the first stack and the plane.")
    ] = False,
    markdown: Markdown = False,
) -> None:
    """Lazy images: peak memory, and time for a megapixel."""
    if viewer:
        from benchmarks import large_window as window_  # it needs Qt

        report(lambda: window_.sheets(depth=depth, planes=planes, side=side), markdown)
        return
    report(lambda: large_.sheets(depth=depth, planes=planes, more=more, side=side), markdown)


@app.command()
def view(
    *,
    side: Annotated[int, typer.Option(min=4096, help="Of the image at full size.")] = 20_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often; medians are shown.")] = 3,
    markdown: Markdown = False,
) -> None:
    """*View* on a large multiscale image: how soon the first head is on screen."""
    from benchmarks import view as view_  # it needs Qt

    report(lambda: view_.sheets(side=side, rounds=rounds), markdown)


@app.command()
def cluster(
    *,
    depth: Annotated[int, typer.Option(min=1, max=4, help="The deepest head.")] = 2,
    rounds: Rounds = 3,
    markdown: Markdown = False,
) -> None:
    """Two workers of a dask cluster against one."""
    report(lambda: cluster_.sheets(depth=depth, rounds=rounds), markdown)


@app.command()
def uncertainty(
    data: Annotated[Path, typer.Argument(help="Folder with dsb2018.")],
    *,
    drawing: Annotated[Path | None, typer.Option(help="An .svg file to draw.")] = None,
    markdown: Markdown = False,
) -> None:
    """Which measure finds what is wrong, and whether depth can follow it."""
    report(lambda: uncertainty_.sheets(data, drawing), markdown)


@app.command()
def volumes(
    data: Annotated[
        Path | None, typer.Argument(help="Folder with embryo3d; scores only if it is given.")
    ] = None,
    *,
    model: Annotated[str, typer.Option(help="For volumes; name or file.")] = "nuclei3d",
    side: Annotated[int | None, typer.Option(min=16, help="Of one cube.")] = None,
    markdown: Markdown = False,
) -> None:
    """Each head on volumes: time, memory, and how good it is beside planes one by one."""
    report(lambda: volumes_.sheets(model=model, data=data, side=side), markdown)


@app.command()
def pipeline(
    *,
    size: Size = 2048,
    rounds: Rounds = 3,
    fp32: Annotated[bool, typer.Option("--fp32", help="Though the CPU has bf16.")] = False,
    markdown: Markdown = False,
) -> None:
    """`segment` against the bare network, where its time goes, and how much is computed twice."""
    report(lambda: pipeline_.sheets(size=size, rounds=rounds, fp32=fp32), markdown)


@app.command()
def finetune(
    data: Annotated[Path, typer.Argument(help="Folder with isbi2012, embryo3d and dsb2018.")],
    *,
    case: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(CASES)}; may be repeated.")
    ] = None,
    model: Annotated[str, typer.Option(help="To start from; a name or a file.")] = "nuclei",
    minutes: Annotated[float, typer.Option(help="Budget of each fine-tuning.")] = 2.0,
    seeds: Annotated[int, typer.Option(help="Of the rubbish.")] = 10,
    log: Annotated[Path, typer.Option(help="Results; what is there isn't done again.")] = Path(
        "runs/finetune.jsonl"
    ),
    markdown: Markdown = False,
) -> None:
    """What fine-tuning gains elsewhere, on corrections simulated from the truth (hours)."""
    report(
        lambda: finetune_.sheets(
            case or CASES, data=data, log=log, model=model, minutes=minutes, seeds=seeds
        ),
        markdown,
    )


@app.command()
def plot(
    output: Annotated[Path, typer.Argument(help="The drawing, an .svg file.")],
    *,
    log: Annotated[Path, typer.Option(help="Of `finetune`.")] = Path("runs/finetune.jsonl"),
    paper: Annotated[
        Path | None, typer.Option(help="The folder of `paper`, to draw that instead.")
    ] = None,
) -> None:
    """Draw what `finetune` or `paper` measured."""
    from benchmarks import paper_plot
    from benchmarks.plot import draw

    if paper is None:
        draw(log, output)
    else:
        paper_plot.draw(paper, output)


@app.command()
def paper(
    data: Annotated[Path, typer.Argument(help="The folder dsb2018.")],
    *,
    network: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(paper_.CONTESTANTS)}; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 2000,
    batch: Annotated[int, typer.Option(min=1, help="Patches in a step.")] = 8,
    narrow: Annotated[int, typer.Option(min=1, help="Divide every width by this.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at once, on a large GPU.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    folder: Annotated[
        Path, typer.Option(help="Log, models and checkpoints; what is there isn't done again.")
    ] = Path("runs/paper"),
    markdown: Markdown = False,
) -> None:
    """The networks of the papers trained alike on nuclei: how good, at what price (hours)."""
    trials = paper_.plan(
        network or list(paper_.CONTESTANTS), seeds=seeds, steps=steps, batch=batch, narrow=narrow
    )

    def measure() -> list[Sheet]:
        entries = list(paper_.run(trials, data, folder, jobs=jobs, device=device))
        specs = {trial.network: paper_.CONTESTANTS[trial.network].spec(narrow) for trial in trials}
        times, where = in_child(paper_speed_.times, specs, device)
        text = json.dumps({"times": times, "where": where}, indent=1)
        (folder / paper_.TIMES).write_text(text)
        return paper_.sheets(entries, times, where)

    report(measure, markdown)


@app.command()
def pruning(
    *,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    markdown: Markdown = False,
) -> None:
    """Planes and volumes for each second that pruning gains."""
    report(lambda: in_child(paper_speed_.pruning, device), markdown)


@app.command()
def learning(*, rounds: Rounds = 5, markdown: Markdown = False) -> None:
    """A step of training, with the channels last in memory and without."""
    report(lambda: learning_.sheets(rounds=rounds), markdown)


@app.command()
def tiling(
    *,
    tile: Annotated[
        list[int] | None, typer.Option(min=64, help="Largest side of tiles; may be repeated.")
    ] = None,
    height: Annotated[int, typer.Option(min=16, help="Of the mosaic, in pixels.")] = 1181,
    width: Annotated[int, typer.Option(min=16, help="Of the mosaic, in pixels.")] = 1303,
    markdown: Markdown = False,
) -> None:
    """Differences between tiled and untiled answers, and labels that flip."""
    tiles = tile or tiling_.TILES
    report(lambda: tiling_.sheets(tiles=tiles, height=height, width=width), markdown)


@app.command()
def dock(
    *,
    size: Annotated[int, typer.Option(min=64, max=1152, help="Side of the plane.")] = 1024,
    markdown: Markdown = False,
) -> None:
    """The dock in a real window: opening it, the first mask, and whether the window is alive."""
    from benchmarks import dock as dock_  # it needs Qt, and the others don't

    report(lambda: dock_.sheets(size=size), markdown)


@app.command()
def loop(
    *,
    turns: Annotated[int, typer.Option(min=1, help="How often it is fine-tuned.")] = 5,
    minutes: Annotated[float, typer.Option(help="Budget of each.")] = 0.4,
    markdown: Markdown = False,
) -> None:
    """Fine-tune over and over in a real window: the heartbeat, the memory left, and Stop."""
    from benchmarks import loop as loop_  # it needs Qt

    report(lambda: loop_.sheets(turns=turns, minutes=minutes), markdown)


@app.command()
def memory(
    *,
    size: Size = 512,
    large: Annotated[int, typer.Option(min=16, help="Side of the plane for segment.")] = 2048,
    markdown: Markdown = False,
) -> None:
    """Peak memory of each head, and of `segment`."""
    report(lambda: memory_.sheets(size=size, large=large), markdown)


@app.command()
def openvino(
    data: Annotated[Path, typer.Argument(help="Folder with dsb2018.")],
    *,
    part: Annotated[
        list[str] | None, typer.Option(help="scores or speed; both by default.")
    ] = None,
    patches: Annotated[int, typer.Option(min=1, help="To calibrate on.")] = 100,
    rounds: Rounds = 3,
    busy: Busy = False,
    folder: Annotated[
        Path, typer.Option(help="For quantised graphs; what is there isn't made again.")
    ] = Path("runs/openvino"),
    markdown: Markdown = False,
) -> None:
    """OpenVINO's int8 against our bf16: IoU of each head, labels that flip, and time."""
    report(
        lambda: openvino_.sheets(
            data,
            folder=folder,
            patches=patches,
            rounds=rounds,
            parts=tuple(part or ("scores", "speed")),
            busy=busy,
        ),
        markdown,
    )


@app.command()
def peers(
    *,
    height: Annotated[int, typer.Option(min=64, help="Of the plane; a multiple of 32.")] = 480,
    width: Annotated[int, typer.Option(min=64, help="Of the plane; a multiple of 32.")] = 544,
    rounds: Rounds = 3,
    repeats: Annotated[int, typer.Option(min=1, help="Runs in each child process.")] = 3,
    busy: Busy = False,
    markdown: Markdown = False,
) -> None:
    """Time to L4, memory and share of the limit against UNet++ of other packages."""
    for side in (height, width):
        if side % 32:
            raise typer.BadParameter(f"A side is {side} pixels: give a multiple of 32.")
    report(
        lambda: peers_.sheets(
            height=height, width=width, rounds=rounds, repeats=repeats, busy=busy
        ),
        markdown,
    )


@app.command()
def samples(
    *,
    threshold: Annotated[float, typer.Option(help="From which a pixel is in the mask.")] = 0.5,
    markdown: Markdown = False,
) -> None:
    """IoU, Dice and instance F1 of the shipped model on the sample images."""
    report(lambda: samples_.sheets(threshold=threshold), markdown)


@app.command(name="all")
def everything(*, markdown: Markdown = False) -> None:
    """All of them, one after the other, as they are by default."""
    for run in (engine, heads, pipeline, tiling, learning, dock, memory, samples):
        run(markdown=markdown)


def report(measure: Callable[[], list[Sheet]], markdown: bool) -> None:
    """Measure, and print the tables; how long it took goes to stderr."""
    introduce()
    started = time.monotonic()
    found = measure()
    show(found, markdown=markdown)
    seconds = time.monotonic() - started
    print(f"{found[0].title.partition(':')[0]}: {seconds:.0f} s", file=sys.stderr, flush=True)


@cache
def introduce() -> None:
    """Say once where and with what is measured."""
    print(machine(), end="\n\n", flush=True)


if __name__ == "__main__":
    app()
