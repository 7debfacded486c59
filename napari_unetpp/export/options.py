"""How to export; known to the command line before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["onnx", "torch-export", "bioimageio"]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2", "bioimageio": ".zip"}
"""What the files are called."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export.

    Attributes
    ----------
    depth : int
        The head.
    format : {"onnx", "torch-export", "bioimageio"}
        The file.
    tiled : bool
        For programs that cut images into small tiles: nothing in the graph hangs on more than the
        tile, see `export.intensities`.
    authors : tuple of str
        Of the model, for bioimage.io.
    """

    depth: int
    format: Format
    tiled: bool = False
    authors: tuple[str, ...] = ()
