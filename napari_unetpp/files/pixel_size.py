"""How long a pixel is, from what a file says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

import tifffile

MICROMETRES = {
    "picometer": 1e-6,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "µm": 1.0,
    "um": 1.0,
    "micron": 1.0,
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
"""What the names of units of length mean, in µm."""

SECONDS = {
    "ns": 1e-9,
    "nanosecond": 1e-9,
    "µs": 1e-6,
    "us": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
"""What the names of units of time mean, in s."""

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
        "µm", whichever units of length the file has; "pixel" if nothing is known.
    interval : float, optional
        Seconds from one point in time to the next, above 0.
    """

    lengths: Mapping[str, float] = field(default_factory=dict)
    unit: str = "pixel"
    interval: float | None = None

    @classmethod
    def of(cls, lengths: Mapping[str, float], interval: float | None = None) -> PixelSize:
        """From lengths in µm and seconds, as found: what can't be one is left out."""
        known = {axis: length for axis, length in lengths.items() if 0 < length < math.inf}
        seconds = interval if interval is not None and 0 < interval < math.inf else None
        return cls(known, "µm" if known else "pixel", seconds)


def in_micrometres(unit: str) -> float | None:
    """How long a unit of length is; None if it is another one, or none at all."""
    return MICROMETRES.get(_plain(unit))


def in_seconds(unit: str) -> float | None:
    """How long a unit of time is; None if it is another one, or none at all."""
    return SECONDS.get(_plain(unit))


def pixel_size_of(file: tifffile.TiffFile) -> PixelSize:
    """The pixel size from OME, ImageJ or plain TIFF tags, in this order."""
    if file.is_ome and file.ome_metadata:
        return _from_ome(file.ome_metadata)
    if file.is_imagej and file.imagej_metadata:
        return _from_imagej(file.imagej_metadata, file.pages.first)
    return _from_tags(file.pages.first)


def _from_ome(xml: str) -> PixelSize:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return PixelSize()
    lengths = {}
    for axis in "ZYX":
        unit = in_micrometres(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if unit is not None:
            lengths[axis] = _number(pixels.get(f"PhysicalSize{axis}")) * unit
    second = in_seconds(pixels.get("TimeIncrementUnit", "s")) or 0.0
    return PixelSize.of(lengths, _number(pixels.get("TimeIncrement")) * second)


def _from_imagej(metadata: Mapping[str, object], page: tifffile.TiffPage) -> PixelSize:
    """Y and Z have units of their own only where these differ from that of X."""
    across = str(metadata.get("unit", ""))
    units = {
        "X": in_micrometres(across),
        "Y": in_micrometres(str(metadata.get("yunit", across))),
        "Z": in_micrometres(str(metadata.get("zunit", across))),
    }
    numbers = {axis: _reciprocal(n) for axis, n in zip("XY", page.resolution, strict=True)}
    numbers["Z"] = abs(_number(metadata.get("spacing")))  # below 0 for stacks taken downwards
    lengths = {axis: numbers[axis] * unit for axis, unit in units.items() if unit is not None}
    return PixelSize.of(lengths, _number(metadata.get("finterval")))


def _from_tags(page: tifffile.TiffPage) -> PixelSize:
    unit = {2: 25400.0, 3: 1e4, 4: 1e3, 5: 1.0}.get(int(page.resolutionunit))
    across, down = page.resolution  # pixels in a unit
    if unit is None or min(across, down) <= unit / COARSEST:
        return PixelSize()
    return PixelSize.of({"Y": unit * _reciprocal(down), "X": unit * _reciprocal(across)})


def _number(value: object) -> float:
    """A number in a file; 0, which is no length, for what is none."""
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _reciprocal(value: float) -> float:
    return 1 / value if value else 0.0


def _plain(unit: str) -> str:
    """A name as in the tables: one of the two signs for micro, not ImageJ's escape, no plural."""
    name = unit.strip().replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("μ", "µ").lower()
    name = name.replace("metre", "meter")
    return name.removesuffix("s") if len(name) > 3 else name
