"""Corrections as samples: one part to learn from, another, elsewhere, to be scored on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unetpp.errors import UserError
from napari_unetpp.inference.layout import Region, inside
from napari_unetpp.inference.normalise import CLEAR_TONE, background_tone
from napari_unetpp.models.spec import ModelSpec, Normalisation
from napari_unetpp.training import slabs
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.labels import class_masks
from napari_unetpp.training.pieces import pieces_of
from napari_unetpp.training.places import Strips, split_places
from napari_unetpp.training.samples import Sample

CONTEXT = {2: 96, 3: slabs.CONTEXT}
"""Pixels around a held-out place that the network sees: in planes as far as L4 does."""
PIECE = {2: 768, 3: 64}
"""Largest side of a held-out piece; with its context it is validated in one go."""
SCORED_PIXELS = 1 << 21
"""Of held-out pieces with their context, all in all: a dozen validations have to fit in."""
MOST_PLACES = 50_000
"""Positions kept to draw patches around; more would be no better spread."""


@dataclass(frozen=True)
class Lesson:
    """A corrected plane, or planes of a volume, in two parts.

    Attributes
    ----------
    kind : str
        Under which it is scored.
    learnt : Sample
        Weight 1 where it is to be learnt from; 0 everywhere if all of it is held out.
    held_out : tuple of Sample
        Pieces with weight 1 where they are scored; cut out with what the network has to see
        around. Empty if nothing could be held out.
    """

    kind: str
    learnt: Sample
    held_out: tuple[Sample, ...]


def check_corrections(corrections: Sequence[Correction], spec: ModelSpec) -> None:
    """Refuse what nothing can be learnt from.

    Raises
    ------
    UserError
        If there are no corrections, they are all background, or of another number of channels.
    """
    if not any(correction.known.any() for correction in corrections):
        raise UserError("Nothing was corrected yet: paint where the mask is wrong, then fine-tune.")
    if not any((c.classes[c.known] > 0).any() for c in corrections):
        raise UserError(
            "The corrections are all background, and from that nothing can be learnt: also correct "
            "a plane with something to find."
        )
    wrong = [c for c in corrections if c.image.shape[0] != spec.in_channels]
    if wrong:
        raise UserError(
            f"The correction of {wrong[0].source.image} has {wrong[0].image.shape[0]} channels and "
            f"{spec.name} takes {spec.in_channels}: fine-tune the model that it was made with."
        )


def settled(normalisation: Normalisation, corrections: Sequence[Correction]) -> Normalisation:
    """The normalisation with the background that the corrected planes have, if it has to be told.

    In images such as electron micrographs the background is neither clearly dark nor bright, and
    "auto" would turn one plane and not the next. Where that is so, but the corrected planes have
    a majority, the new version goes by that for good, unless one of them clearly is otherwise.
    """
    if any(c.slab is not None or c.source.colour for c in corrections):
        return normalisation  # volumes are seen as a whole, and of colour it is known
    tones = [background_tone(c.image, normalisation) for c in corrections]
    if normalisation.background != "auto" or abs(np.median(tones)) > CLEAR_TONE:
        return normalisation
    bright = sum(tone > 0 for tone in tones)
    side = 2 * bright - len(tones)
    if side == 0 or any(tone * side < 0 and abs(tone) > CLEAR_TONE for tone in tones):
        return normalisation
    return normalisation.model_copy(update={"background": "bright" if side > 0 else "dark"})


def lessons_of(
    corrections: Sequence[Correction],
    spec: ModelSpec,
    kinds: Sequence[str],
    before: Strips | None = None,
    *,
    new: Sequence[bool] | None = None,
) -> tuple[list[Lesson], Strips]:
    """What is learnt from corrections, and which strips are held out.

    Patches are drawn around what was wrong and from all that is known, in equal shares, so that
    mistakes are learnt from and what was right stays.

    Parameters
    ----------
    corrections : sequence of Correction
        All at once, in any order, as planes of one image have to be held out at the same place.
    spec : ModelSpec
        Of the model that learns: its normalisation and its number of classes.
    kinds : sequence of str
        Under which the held-out part of each is scored.
    before : dict, optional
        Strips that were held out before, see `split_places`.
    new : sequence of bool, optional
        Of each correction, whether it wasn't learnt before, see `split_places`.
    """
    splits, strips = split_places(
        [c.known for c in corrections], [c.classes > 0 for c in corrections], before, new=new
    )
    lessons = []
    for piece in pieces_of(corrections, splits, kinds, spec):
        masks = class_masks(piece.classes, len(spec.classes))
        places = _places(piece.learnt, piece.wrong)
        learnt = Sample(piece.image, masks, _weight(piece.learnt), piece.kind, places=places)
        held_out = Sample(piece.image, masks, _weight(piece.held_out), piece.kind)
        lessons.append(Lesson(piece.kind, learnt, tuple(_pieces(held_out))))
    return lessons, strips


def to_score(pieces: Sequence[Sample], seed: int) -> list[Sample]:
    """Up to `SCORED_PIXELS` of held-out pieces, one at least; those with foreground go first."""
    order = np.random.default_rng(seed).permutation(len(pieces))
    empty = [not (piece.mask * (piece.weight > 0)).any() for piece in pieces]
    chosen: list[Sample] = []
    for n in sorted(order, key=lambda n: empty[n]):
        if chosen and sum(p.weight.size for p in (*chosen, pieces[n])) > SCORED_PIXELS:
            break
        chosen.append(pieces[n])
    return chosen


def cut_out(sample: Sample, context: int) -> Sample:
    """The part of a sample where it is known, and `context` pixels around it."""
    (found,) = ndimage.find_objects((sample.weight[0] > 0).astype(np.uint8))
    around = (slice(max(part.start - context, 0), part.stop + context) for part in found)
    place = (slice(None), *around)
    return Sample(sample.image[place], sample.mask[place], sample.weight[place], sample.kind)


def _pieces(sample: Sample) -> Iterator[Sample]:
    """What is known of a sample, in pieces of up to `PIECE`, each with its context."""
    dims = sample.weight.ndim - 1
    side = PIECE[dims]
    for found in ndimage.find_objects((sample.weight[0] > 0).astype(np.uint8)):
        starts = (range(part.start, part.stop, side) for part in found)
        for start in product(*starts):
            place = tuple(
                slice(n, min(n + side, part.stop)) for n, part in zip(start, found, strict=True)
            )
            if sample.weight[:, *place].any():
                yield _piece(sample, place, CONTEXT[dims])


def _piece(sample: Sample, place: Region, context: int) -> Sample:
    """One piece, of which just what lies in `place` is known."""
    around = tuple(slice(max(part.start - context, 0), part.stop + context) for part in place)
    weight = np.zeros_like(sample.weight[:, *around])  # no larger than that, as there are many
    weight[:, *inside(place, around)] = sample.weight[:, *place]
    piece = Sample(sample.image[:, *around], sample.mask[:, *around], weight, sample.kind)
    return cut_out(piece, context)


def _places(learnt: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    groups = (np.argwhere(learnt), np.argwhere(learnt & wrong))
    # Copies, as a view would keep all positions in memory.
    return tuple(group[:: len(group) // MOST_PLACES + 1].copy() for group in groups if len(group))


def _weight(known: NDArray[np.bool_]) -> NDArray[np.float32]:
    return known[None].astype(np.float32)
