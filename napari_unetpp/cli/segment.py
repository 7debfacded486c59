"""`segment`: images in, masks out."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from napari_unetpp.cli.options import DepthOption, DeviceOption, ForceOption, ModelOption, load_for
from napari_unetpp.models import DEFAULT_MODEL, model_file


def segment(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…", help="Images, folders of images, or folders and URLs of OME-Zarr."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the masks, made; of OME-Zarr if the name ends in .zarr.",
        ),
    ],
    *,
    model: ModelOption = DEFAULT_MODEL,
    depth: DepthOption = None,
    heads: Annotated[
        Literal["all", "deepest", "ensemble"],
        typer.Option(help="Masks of all heads, of the deepest, or of their mean."),
    ] = "all",
    axes: Annotated[
        str | None, typer.Option(help="Like ZYX or TYXC, in any order, if the files don't say it.")
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(min=0, help="From 0; once for each channel of the model, in its order."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Probability from which a pixel belongs to the mask.")
    ] = 0.5,
    instances: Annotated[
        bool, typer.Option("--instances", help="Also number the objects, touching ones apart.")
    ] = False,
    device: DeviceOption = "auto",
    tile: Annotated[
        int | None, typer.Option(min=1, help="Largest side of a tile in pixels; less needs less.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Of a dask cluster, like tcp://10.0.0.1:8786, for OME-Zarr."
        ),
    ] = None,
    ome_zarr: Annotated[
        Literal["0.5", "0.4"], typer.Option(help="The version of OME-Zarr that is written.")
    ] = "0.5",
    piece: Annotated[
        int | None,
        typer.Option(
            min=64,
            help="Side of what is done as one for OME-Zarr, in pixels: 4096, of volumes 512.",
        ),
    ] = None,
    skip_damaged: Annotated[
        bool,
        typer.Option(
            "--skip-damaged", help="Finish an OME-Zarr also if a part of the image can't be read."
        ),
    ] = False,
    force: ForceOption = False,
) -> None:
    """Segment images, and write the masks of the heads as TIFF or OME-Zarr.

    Writes DIR/STEM_L1.tif, _L2 … (or _ensemble), and _instances of the deepest head or of the
    ensemble. Inputs of the same stem get longer names. A DIR that ends in .zarr is for the masks of
    one image: label images L1, L2 …. They are done piece by piece, and the same command goes on
    after it was stopped, or a computer died. An image that can't be segmented doesn't
    stop the others: what failed is listed at the end, and the exit code is 2.
    """
    from napari_unetpp.cli.batch import run_batch
    from napari_unetpp.cli.into_zarr import Way
    from napari_unetpp.cli.job import Job
    from napari_unetpp.files import as_source
    from napari_unetpp.inference.options import SegmentOptions

    channels = None if channel is None else tuple(channel)
    options = SegmentOptions(depth=depth, device=device, tile=tile, channels=channels)
    job = Job(
        model=load_for(model, options, threshold),
        model_file=model_file(model),
        options=options,
        axes=axes,
        threshold=threshold,
        heads=heads,
        instances=instances,
        force=force,
    )
    way = Way(scheduler=scheduler, version=ome_zarr, piece=piece, skip_damaged=skip_damaged)
    run_batch([as_source(text) for text in inputs], as_source(output), job, way)
