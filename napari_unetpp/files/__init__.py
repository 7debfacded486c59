"""Image files: found in folders, read with axes and pixel size, written with provenance."""

from napari_unetpp.files.folders import SUFFIXES, find_pairs, image_paths, output_names
from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.files.read import ImageFile, read_image
from napari_unetpp.files.write import check_free, write_masks

__all__ = [
    "SUFFIXES",
    "ImageFile",
    "PixelSize",
    "check_free",
    "find_pairs",
    "image_paths",
    "output_names",
    "read_image",
    "write_masks",
]
