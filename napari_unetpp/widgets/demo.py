"""The main job on a sample, in the window."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_unetpp.errors import UserError
from napari_unetpp.files import read_image, sample_path, write_masks
from napari_unetpp.widgets.commands import PLUGIN, open_dock
from napari_unetpp.widgets.dock import SegmentDock
from napari_unetpp.widgets.geometry import METADATA_KEY

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
    problems: list[Exception] = []
    waiting = QTimer()
    waiting.setInterval(100)

    def leave_when_done() -> None:
        """Wait until the last head is drawn; then leave what was asked for."""
        if dock.running or (dock.results is not None and not dock.results.idle):
            return
        waiting.stop()
        try:
            _leave(viewer, dock, output, screenshot)
        except (UserError, OSError) as error:
            problems.append(error)
        finally:
            if screenshot is not None:
                viewer.close()

    waiting.timeout.connect(leave_when_done)
    QTimer.singleShot(0, dock.segment)
    QTimer.singleShot(100, waiting.start)
    napari.run()
    if problems:
        raise UserError(f"The demo was not finished: {problems[0]}") from problems[0]


def _leave(viewer: Viewer, dock: SegmentDock, output: Path | None, screenshot: Path | None) -> None:
    if dock.results is None:
        raise UserError("the sample could not be segmented: see the message before this one.")
    if output is not None:
        _save_heads(dock, output)
    if screenshot is not None:
        screenshot.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(str(screenshot), canvas_only=False, flash=False)


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
