"""What a fine-tuning learns from, and what it is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unetpp.models.spec import ModelSpec
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.messages import EARLIER, HELD_OUT
from napari_unetpp.training.places import Strips
from napari_unetpp.training.samples import Sample
from napari_unetpp.training.study import Lesson, lessons_of, to_score


@dataclass(frozen=True)
class Material:
    """New corrections, and those of the fine-tunings before, as a model sees them.

    Attributes
    ----------
    new, replayed : sequence of Lesson
        What is learnt.
    held_out : list of Sample
        What is scored, of the new ones first.
    strips : dict
        Where that is, see `split_places`.
    """

    new: Sequence[Lesson]
    replayed: Sequence[Lesson]
    held_out: list[Sample]
    strips: Strips

    @classmethod
    def of(
        cls,
        corrections: Sequence[Correction],
        earlier: Sequence[Correction],
        spec: ModelSpec,
        before: Strips,
        seed: int,
    ) -> Material:
        """Split corrections by place.

        Parameters
        ----------
        corrections, earlier : sequence of Correction
            The new ones, and those that ancestors learnt.
        spec : ModelSpec
            Of the model that sees them: its normalisation and its number of classes.
        before : dict
            Strips that were held out from ancestors.
        seed : int
            Of which pieces are scored, where there are many.
        """
        kinds = [HELD_OUT] * len(corrections) + [EARLIER] * len(earlier)
        new = [kind == HELD_OUT for kind in kinds]
        lessons, strips = lessons_of((*corrections, *earlier), spec, kinds, before, new=new)
        by_kind = {kind: [one for one in lessons if one.kind == kind] for kind in set(kinds)}
        held_out = [
            piece
            for kind in (HELD_OUT, EARLIER)
            for piece in to_score(
                [piece for one in by_kind.get(kind, ()) for piece in one.held_out], seed
            )
        ]
        return cls(by_kind.get(HELD_OUT, []), by_kind.get(EARLIER, []), held_out, strips)

    @property
    def learnt(self) -> list[Sample]:
        """What patches are drawn from."""
        return [lesson.learnt for lesson in (*self.new, *self.replayed)]

    def probabilities(self, replay: float) -> NDArray[np.float64]:
        """How often a patch is of each of `learnt`.

        The earlier ones give the share `replay`, if there are any; among the new ones, and among
        the earlier ones, each counts by the root of its known area.
        """
        parts = []
        for lessons, share in ((self.new, 1.0), (self.replayed, replay)):
            sizes = np.sqrt([np.count_nonzero(lesson.learnt.weight) for lesson in lessons])
            parts.append(sizes * (share / max(sizes.sum(), 1.0)))
        if self.replayed:
            parts[0] *= 1 - replay
        together = np.concatenate(parts)
        return np.asarray(together / together.sum(), np.float64)
