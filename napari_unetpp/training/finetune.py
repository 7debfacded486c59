"""From corrections to a new version of a model, measured on corrections that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from napari_unetpp.errors import UserError
from napari_unetpp.inference.devices import Device, choose_device
from napari_unetpp.models.file import Model
from napari_unetpp.training.corrections import Correction
from napari_unetpp.training.finetuning import Finetuning
from napari_unetpp.training.messages import FinetuneEvent
from napari_unetpp.training.options import FinetuneOptions
from napari_unetpp.training.study import check_corrections


def finetune(
    model: Model,
    corrections: Sequence[Correction],
    *,
    output: Path,
    earlier: Sequence[Correction] = (),
    options: FinetuneOptions | None = None,
    device: Device | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[FinetuneEvent]:
    """Fine-tune a model on corrections; yields an event a step.

    A part of the corrections is held out, by place (see `split_places`). The best version so far
    by their IoU is always in `output`, so that a fine-tuning that is killed loses nothing but
    what came after. The first event comes before the first step and has the scores of `model`.

    Parameters
    ----------
    model : Model
        To start from; it is not changed.
    corrections : sequence of Correction
        To learn from.
    output : Path
        Where the new version is saved.
    earlier : sequence of Correction
        Of the fine-tunings before this one: some are learnt again, and some are scored.
    options : FinetuneOptions, optional
        How.
    device : Device, optional
        Where; by default as `choose_device` says.
    stop : callable
        Asked before each step; True ends it, with the best so far.

    Raises
    ------
    UserError
        If nothing was corrected, all of it is background, or the corrections don't fit the model.
    """
    options = options or FinetuneOptions()
    if options.name is not None:  # it has learnt nothing before
        corrections, earlier = (*corrections, *earlier), ()
    check_corrections(corrections, model.spec)
    try:
        finetuning = Finetuning(
            model, corrections, earlier, output, options, device or choose_device()
        )
    except MemoryError as error:
        raise UserError(
            "Memory ran out before the training began: close other programs, or correct fewer or "
            "smaller planes."
        ) from error
    return finetuning.events(stop)
