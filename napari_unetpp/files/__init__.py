"""Image files: found in folders, read with axes and pixel size, written with provenance."""

from napari_unetpp.files.folders import SUFFIXES, find_pairs, image_paths, output_names
from napari_unetpp.files.image import ImageFile, LazyPixels
from napari_unetpp.files.pixel_size import PixelSize
from napari_unetpp.files.places import Source, as_source, is_store, is_url, name_of
from napari_unetpp.files.read import open_image, read_image
from napari_unetpp.files.samples import sample_path
from napari_unetpp.files.write import (
    OME_TIFF_SUFFIXES,
    check_free,
    write_mask_group,
    write_masks,
)
from napari_unetpp.files.zarr_read import label_names
from napari_unetpp.files.zarr_write import ZARR_SUFFIX

__all__ = [
    "OME_TIFF_SUFFIXES",
    "SUFFIXES",
    "ZARR_SUFFIX",
    "ImageFile",
    "LazyPixels",
    "PixelSize",
    "Source",
    "as_source",
    "check_free",
    "find_pairs",
    "image_paths",
    "is_store",
    "is_url",
    "label_names",
    "name_of",
    "open_image",
    "output_names",
    "read_image",
    "sample_path",
    "write_mask_group",
    "write_masks",
]
