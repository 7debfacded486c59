"""Masks of versions that are no longer used, and in which nobody painted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from napari_unetpp.errors import UserError
from napari_unetpp.widgets.geometry import METADATA_KEY
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.threads import failing_loudly


def outdated(masks: Sequence[Mask], results: Results, models: Collection[str]) -> list[Mask]:
    """Those of an image's results that are of versions other than `models`, but of their family.

    `results` are the image's newest.
    """
    current = {made.layer for made in results.layers.values()}
    lineages = {mask.lineage for mask in masks if mask.layer in current}
    return [
        mask
        for mask in masks
        if mask.is_made
        and mask.image is results.image
        and mask.lineage in lineages
        and mask.layer not in current
        and mask.layer.metadata[METADATA_KEY].get("model") not in models
    ]


def unpainted(masks: Sequence[Mask]) -> list[Mask]:
    """Those in which nothing was changed or checked; large ones take a while to compare."""
    found = []
    with failing_loudly():
        for mask in masks:
            with suppress(UserError):  # it got another shape: somebody has it in hand
                found += [] if mask.corrected() else [mask]
    return found
