"""The one place where a run meets the network."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.files import ImageFile
from napari_unetpp.inference.layout import ArrayLike, Index, Region
from napari_unetpp.inference.options import SegmentOptions

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model


def probabilities(
    image: ImageFile[ArrayLike],
    model: Model,
    *,
    axes: str,
    options: SegmentOptions,
    index: Index,
    region: Region,
) -> NDArray[np.uint8]:
    """The heads of a region of one plane or volume, ``(head, class, *region)``, probability × 255.

    It is the same whichever process computes it, and fits to what others compute beside it.

    Raises
    ------
    UserError
        If the image can't be read there, or doesn't fit the model.
    """
    from napari_unetpp.inference.predict import segment_region

    # Without an overview each piece has to look at parts of the whole plane for its intensities.
    values: NDArray[np.uint8] = segment_region(
        image.data,
        model,
        axes=axes,
        options=replace(options, overview=image.overview),
        index=index,
        region=region,
    )
    return values


def use_cores(count: int) -> None:
    """Compute with so many threads in this process, from now on."""
    import torch

    torch.set_num_threads(max(1, count))


def model_of(content: bytes) -> Model:
    """A model from what its file holds.

    Raises
    ------
    UserError
        As `read_model`.
    """
    from napari_unetpp.models.file import read_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        return read_model(path)
