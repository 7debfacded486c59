"""The main job on a sample, in the window."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_unetpp.errors import UserError
from napari_unetpp.files import read_image, write_masks
from napari_unetpp.widgets.commands import PLUGIN, open_dock
from napari_unetpp.widgets.dock import SegmentDock
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.samples import sample_path

SAMPLE = "nuclei"
WINDOW = (1400, 900)
"""Width and height in pixels: of the screenshot, too."""


def run_demo(output: Path | None, screenshot: Path | None) -> None:
    """Open napari with a sample, segment it, and leave the masks of all heads.

    Parameters
    ----------
    output : Path, optional
        Folder for the masks; what an earlier demo left there is replaced.
    screenshot : Path, optional
        Where to save a picture of the window. With one, napari closes when all is done.

    Raises
    ------
    UserError
        If the run failed, or something can't be written.
    """
    viewer = Viewer(title="napari-unetpp demo")
    viewer.window.resize(*WINDOW)
    dock = open_dock(viewer)
    viewer.open_sample(PLUGIN, SAMPLE)  # after the dock, so that it fits what is left of the window
    problems: list[str] = []

    def finish(complete: bool) -> None:
        # A moment, so that the last head is drawn.
        QTimer.singleShot(800, lambda: leave(complete))

    def leave(complete: bool) -> None:
        try:
            if not complete:
                raise UserError("The demo was not finished: see the message in the window.")
            if output is not None:
                _save_heads(dock, output)
            if screenshot is not None:
                screenshot.parent.mkdir(parents=True, exist_ok=True)
                viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
        except UserError as error:
            problems.append(str(error))
        if screenshot is not None:
            viewer.close()

    dock.session.run_started.connect(lambda run: run.ended.connect(finish))
    QTimer.singleShot(0, dock.segment)
    napari.run()
    if problems:
        raise UserError(problems[0])


def _save_heads(dock: SegmentDock, folder: Path) -> None:
    """As `napari-unetpp segment` would."""
    results = dock.results
    assert results is not None
    image = read_image(sample_path(SAMPLE))
    for key in results.head_keys:
        if key in results.layers:
            layer = results.layers[key].layer
            write_masks(
                folder / f"{SAMPLE}_{key}.tif",
                layer.data,
                axes=results.heads.axes,
                pixel_size=image.pixel_size,
                provenance=layer.metadata[METADATA_KEY],
                force=True,
            )
