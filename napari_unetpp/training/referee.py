"""Scores a fine-tuning on what is held out: the old version once, the new one on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_unetpp.inference.devices import Device, prepared
from napari_unetpp.inference.tiles import halo
from napari_unetpp.models.file import Model
from napari_unetpp.models.spec import ModelSpec
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.fit import FitEvent
from napari_unetpp.training.gate import describe, enough, judge
from napari_unetpp.training.gentle import halfway, is_as_good
from napari_unetpp.training.messages import ScoresByKind, Verdict
from napari_unetpp.training.samples import Sample
from napari_unetpp.training.study import cut_out
from napari_unetpp.training.validate import Scores, validate


class Referee:
    """Says which of the networks is kept, and what is to be said of it.

    Parameters
    ----------
    old : Model
        The version that is fine-tuned, or that a new model is compared with.
    name : str, optional
        Of a new model, which is described and not judged.
    device : Device
        Where; it may be set to another one later.
    """

    def __init__(self, old: Model, name: str | None, device: Device) -> None:
        self.old, self.name, self.device = old, name, device
        self.before: Scores | None = None
        self.can_tell: bool | None = None  # whether enough is held out; None before it was looked
        self.best: Scores | None = None
        self.scored: list[Sample] = []  # what is held out, as far as the new network sees

    def score_before(
        self, new: UNetPlusPlus, seen: Sequence[Sample], seen_by_old: Callable[[], list[Sample]]
    ) -> None:
        """Score the old version, and see whether what is held out tells enough.

        One that finds more classes than a new model can't be compared with it.
        """
        network = self.old.network
        if network.classes > new.classes:
            self.can_tell = enough(self._validated(new, seen))
            return
        self.before = self._validated(network.with_classes(new.classes), seen_by_old())
        self.can_tell = enough(self.before)

    def look_at(self, held_out: Sequence[Sample], spec: ModelSpec) -> None:
        """Score these from now on; a network that is less deep sees less far around."""
        context = halo(spec.depth, spec.architecture)
        self.scored = [cut_out(s, context) for s in held_out] if self.can_tell else []

    def score(self, network: UNetPlusPlus) -> Scores | None:
        """What a network has on what is held out; None if that is nothing."""
        return self._validated(network, self.scored)

    def is_best(self, event: FitEvent) -> bool:
        """Also of what was saved before memory ran out and it began anew."""
        if event.scores is None or not event.is_best:
            return False
        if self.best is not None and event.scores.mean <= self.best.mean:
            return False
        self.best = event.scores
        return True

    def nearer(
        self, begun: UNetPlusPlus | None, network: UNetPlusPlus, scores: Scores | None
    ) -> tuple[UNetPlusPlus, Scores | None, bool]:
        """Half the way from where it began, where that is as good; and whether it is that."""
        if begun is None or scores is None:
            return network, scores, False
        half = halfway(begun, network)
        found = self.score(half)
        if found is None or not is_as_good(found.kinds, scores.kinds):
            return network, scores, False
        return half, found, True

    def verdict(self, scores: Scores | None) -> Verdict:
        """What is to be said of a version with these scores, and whether it is kept."""
        if self.name is None:
            return judge(self.before, scores)
        return describe(self.before, scores, name=self.name, other=self.old.spec.name)

    def _validated(self, network: UNetPlusPlus, samples: Sequence[Sample]) -> Scores | None:
        if not samples:
            return None
        return validate(prepared(network, self.device), samples, self.device)


def by_kind(scores: Scores | None) -> ScoresByKind:
    """Of each kind of place the IoU of each head, as it is told and saved."""
    return {} if scores is None else {kind: dict(heads) for kind, heads in scores.kinds.items()}
