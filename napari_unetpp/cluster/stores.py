"""The masks of a run: a label image for each result, made before the first piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unetpp.cluster.folder import Folder
from napari_unetpp.cluster.journal import Journal
from napari_unetpp.cluster.plan import Plan, difference
from napari_unetpp.errors import UserError
from napari_unetpp.files import PixelSize, Source
from napari_unetpp.files.places import zarr_store
from napari_unetpp.files.zarr_metadata import PROVENANCE_KEY
from napari_unetpp.files.zarr_write import create_labels_group, create_masks_store, strides_for

if TYPE_CHECKING:
    from zarr import Array


def prepare(
    plan: Plan,
    model: bytes,
    *,
    pixel_size: PixelSize,
    origin: Mapping[str, float],
    provenance: Mapping[str, Any],
    force: bool = False,
) -> Plan | None:
    """Have the masks and the journal of a run ready, of a new one or of one that goes on.

    Returns
    -------
    Plan or None
        The plan with its token; None if nothing is left to do.

    Raises
    ------
    UserError
        If there are other masks in this place, or they were begun with other settings.
    """
    journal, target = Journal(plan.target), Folder(plan.target)
    if force:
        target.remove()
        journal.remove()
    begun = journal.begun()
    if begun is not None:
        token, settings = begun
        if changed := difference(settings, plan.settings):
            raise UserError(
                f"{plan.target} was begun with other settings ({changed}): finish it with those, "
                "or use --force to begin anew."
            )
        if journal.is_created and not _is_there(plan):
            journal.remove()  # somebody took the masks away: nothing of them is finished
            token = journal.begin(plan.settings, model)
    elif target.exists():
        _check_complete(plan)
        return None
    else:
        token = journal.begin(plan.settings, model)
    if not journal.is_created:
        target.remove()  # what a crash has left of it
        _create(plan, pixel_size, origin, provenance)
        journal.note_created()
    return replace(plan, token=token)


def open_levels(plan: Plan, name: str) -> list[Array[Any]]:
    """The resolutions of one of the masks, to be written, the finest first."""
    import zarr

    group = zarr.open_group(zarr_store(inside(plan.target, name), read_only=False), mode="r+")
    arrays: list[Array[Any]] = []
    while isinstance(array := group.get(str(len(arrays))), zarr.Array):
        arrays.append(array)
    return arrays


def _is_there(plan: Plan) -> bool:
    """Whether all masks are there, to be filled."""
    try:
        return all(open_levels(plan, name) for name in plan.results)
    except FileNotFoundError:  # zarr's own errors are of this kind
        return False


def inside(place: Source, name: str) -> Source:
    """A folder in a folder."""
    return f"{place.rstrip('/')}/{name}" if isinstance(place, str) else place / name


def _create(
    plan: Plan, pixel_size: PixelSize, origin: Mapping[str, float], provenance: Mapping[str, Any]
) -> None:
    levels = len(strides_for(plan.shape, plan.axes, pixel_size))
    for name in plan.results:
        create_masks_store(
            inside(plan.target, name),
            plan.shape,
            plan.axes,
            chunks=plan.chunks,
            shards=plan.piece,
            pixel_size=pixel_size,
            origin=origin,
            provenance={**provenance, "result": name},
            version=plan.version,
            levels=levels,
            name=name,
        )
    create_labels_group(plan.target, plan.results, plan.version, provenance=plan.settings)


def _check_complete(plan: Plan) -> None:
    """Refuse a place where there is something else than the complete masks of this run."""
    import zarr

    from napari_unetpp.files.image import DAMAGED

    try:
        group = zarr.open_group(zarr_store(plan.target), mode="r")
        made = group.attrs.asdict().get(PROVENANCE_KEY)
    except DAMAGED:
        made = None
    if not isinstance(made, dict) or difference(made, plan.settings):
        raise UserError(f"{plan.target} exists and is kept: choose another place or use --force.")
