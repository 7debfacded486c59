"""The project's own images, which come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def sample_path(name: str) -> Path:
    """The file of a sample: "nuclei", "stack", "volume" or "histology"."""
    return Path(str(files("napari_unetpp"))) / "sample_data" / f"{name}.tif"
