"""What a fine-tuning starts with: a spec and a network, and where the result will come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_unetpp.inference.devices import Device
from napari_unetpp.models.file import Model, build_network
from napari_unetpp.models.spec import FINE_TUNED, TRAINED, ModelSpec
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.gentle import is_nearly_right
from napari_unetpp.training.messages import HELD_OUT
from napari_unetpp.training.options import FinetuneOptions
from napari_unetpp.training.places import Strips

CPU_DEPTH, SOON = 3, 2
"""Measured, see `docs/finetune.md`: in two minutes on a CPU L2 comes further than L3, and that
further than L4. A model that is nearly right, or better in its deeper heads, keeps more with L3."""
AS_GOOD = 0.005
"""IoU that L2 may be behind the best head."""


def start(
    model: Model, highest: int, options: FinetuneOptions, device: Device
) -> tuple[ModelSpec, UNetPlusPlus]:
    """Spec and network to train: cut to a depth, with the classes that the user painted.

    `highest` is the number of the highest class that was painted. A model of its own is as deep
    as its widths say.

    Raises
    ------
    UserError
        If there is no such head, or widths, heads and architecture don't go together.
    """
    whole = model.spec.with_network(options.architecture, options.widths, options.heads)
    cut = device.kind == "cpu" and options.name is None
    default = max(whole.up_to(CPU_DEPTH if cut else whole.depth), default=whole.heads[0])
    depth = whole.checked_depth(default if options.depth is None else options.depth)
    names = options.classes or model.spec.classes
    names += tuple(f"class {n}" for n in range(len(names) + 1, highest + 1))
    spec = whole.cut_to(depth).model_copy(update={"classes": names})
    if options.start == "model":
        return spec, model.network.up_to(depth).with_classes(len(names))
    # What the model's weights came from says nothing of these.
    bare = {"description": "", "licence": "", "origin": ""}
    own = {} if options.name is None else {"name": options.name, "history": ()}
    return spec.model_copy(update=bare | own), build_network(spec)


def depth_on_cpu(before: Mapping[str, Mapping[str, float]]) -> int:
    """How deep to train on a CPU, by the IoU of the old version's heads on each kind of place.

    L2 of a model that is far off, where L1 or L2 was about as good as any deeper head; else L3.
    """
    if is_nearly_right(before[HELD_OUT]):
        return CPU_DEPTH
    for heads in before.values():
        soon = max((iou for head, iou in heads.items() if int(head[1:]) <= SOON), default=0.0)
        if soon < max(heads.values()) - AS_GOOD:
            return CPU_DEPTH
    return SOON


def origin_of(
    model: Model, options: FinetuneOptions, corrections: Sequence[Correction]
) -> dict[str, Any]:
    """What the history of the result says of where it comes from, and of what it learnt.

    From random weights, too, the family goes on, and so do its corrections.
    """
    told = {
        "corrections": tuple(c.file_name for c in corrections),
        "contents": tuple(c.content for c in corrections),
    }
    if options.name is not None:
        return {"action": TRAINED, **told}
    parent = {"parent": model.digest, "parent_name": model.spec.name}
    return {"action": FINE_TUNED, **parent, **told}


def strips_of(spec: ModelSpec) -> Strips:
    """What was held out from this model and its ancestors, the latest last."""
    strips: Strips = {}
    for entry in spec.history:
        for shape, (axis, start, stop) in entry.settings.get(HELD_OUT, {}).items():
            strips[shape] = int(axis), int(start), int(stop)
    return strips
