"""How long a pixel is, from what a TIFF file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

import tifffile

MICROMETRES = {
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "in": 25400.0,
    "inch": 25400.0,
    "m": 1e6,
    "meter": 1e6,
}
"""What the names of units mean, in µm."""

COARSEST = 25.0
"""Pixels, in µm, above which a resolution without any more is that of a printer or a screen (72 to
600 dots an inch) rather than that of a microscope."""


@dataclass(frozen=True)
class PixelSize:
    """The length of a pixel.

    Attributes
    ----------
    lengths : dict of str to float
        For the axes that have one, above 0, in `unit`. Empty if nothing is known.
    unit : str
        "µm", whichever unit of length the file has; "pixel" if nothing is known.
    """

    lengths: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"


def pixel_size_of(file: tifffile.TiffFile) -> PixelSize:
    """The pixel size from OME, ImageJ or plain TIFF tags, in this order."""
    if file.is_ome and file.ome_metadata:
        lengths = _from_ome(file.ome_metadata)
    elif file.is_imagej and file.imagej_metadata:
        lengths = _from_imagej(file.imagej_metadata, file.pages.first)
    else:
        lengths = _from_tags(file.pages.first)
    known = {axis: length for axis, length in lengths.items() if 0 < length < float("inf")}
    return PixelSize(known, "µm") if known else PixelSize()


def _from_ome(xml: str) -> dict[str, float]:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return {}
    lengths = {}
    for axis in "ZYX":
        length = pixels.get(f"PhysicalSize{axis}")
        unit = _in_micrometres(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if length is not None and unit is not None:
            lengths[axis] = float(length) * unit
    return lengths


def _from_imagej(metadata: Mapping[str, object], page: tifffile.TiffPage) -> dict[str, float]:
    unit = _in_micrometres(str(metadata.get("unit", "")))
    if unit is None:
        return {}
    across, down = page.resolution  # pixels in a unit
    lengths = {"Y": unit / down, "X": unit / across} if across > 0 and down > 0 else {}
    spacing = metadata.get("spacing")
    if isinstance(spacing, (int, float)):
        lengths["Z"] = abs(spacing) * unit  # negative for stacks taken downwards
    return lengths


def _from_tags(page: tifffile.TiffPage) -> dict[str, float]:
    unit = {2: 25400.0, 3: 1e4, 4: 1e3, 5: 1.0}.get(int(page.resolutionunit))
    across, down = page.resolution
    if unit is None or min(across, down) <= unit / COARSEST:
        return {}
    return {"Y": unit / down, "X": unit / across}


def _in_micrometres(unit: str) -> float | None:
    """The unit in µm; None if it isn't one of length. ImageJ writes µ as an escape of Java's."""
    name = unit.strip().replace("\\u00B5", "µ").replace("μ", "µ").lower()  # two signs for micro
    return MICROMETRES.get(name)
