"""Measuring how deep is deep enough, in a thread."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from napari.qt.threading import GeneratorWorker, create_worker
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.parts import spread_pieces, window
from napari_unetpp.evaluation.recommend import Depths
from napari_unetpp.inference.layout import Index, Layout, Region
from napari_unetpp.training.corrections import Correction
from napari_unetpp.widgets.geometry import is_result
from napari_unetpp.widgets.job import Job
from napari_unetpp.widgets.lesson import Lesson
from napari_unetpp.widgets.mask import Mask
from napari_unetpp.widgets.run import loaded
from napari_unetpp.widgets.threads import failing_loudly


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be measured.

    Attributes
    ----------
    job : Job
        Image, model and settings; its options say where the user looks.
    mask : Mask, optional
        What to compare with; without, it is the deepest head.
    lesson : Lesson
        Which pixels of the mask are right.
    threshold : float
        Probability from which a pixel belongs to a mask.
    """

    job: Job
    mask: Mask | None
    lesson: Lesson
    threshold: float

    @property
    def right(self) -> str:
        """Where the mask is right, in words; as `MaskTruth` takes it."""
        if self.mask is None:
            return ""
        own = not is_result(self.mask.layer)
        if own and self.lesson.learn in ("edited planes", "around edits"):
            return "planes with labels"
        return self.lesson.learn


class DepthsRun(QObject):
    """One measurement, from start to `ended`."""

    progressed = Signal(float)
    """How far it is, 0 to 1."""
    measured = Signal(object)
    """The `Depths`."""
    failed = Signal(object)
    """The exception."""
    ended = Signal()
    """The last signal of all."""

    def __init__(self, question: Question, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.question = question
        self.cancelled = False
        self._worker: GeneratorWorker = create_worker(
            _work, question, _start_thread=False, _connect={"errored": self._on_error}
        )
        self._worker.yielded.connect(self._on_yield)
        self._worker.returned.connect(self._on_return)
        self._worker.finished.connect(self.ended)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def cancel(self) -> None:
        """End after the head that is being computed."""
        self.cancelled = True
        self._worker.quit()

    def _on_yield(self, fraction: float) -> None:
        if not self.cancelled:
            self.progressed.emit(fraction)

    def _on_error(self, error: Exception) -> None:
        self.failed.emit(error)

    def _on_return(self, depths: Depths) -> None:
        if not self.cancelled:
            self.measured.emit(depths)


def _work(question: Question) -> Generator[float, None, Depths]:
    from napari_unetpp.evaluation.how_deep import measure
    from napari_unetpp.inference.devices import choose_device, release_memory

    job, mask = question.job, question.mask
    with failing_loudly():
        model = loaded(job.model)
        layout = Layout.of(job.pixels, job.axes, dims=model.spec.dims)
        region = window(layout.spatial_shape, job.options.focus)
        indices, truth = list(job.options.indices or [])[:1], None
        if mask is not None:
            truth = MaskTruth(mask, question.lesson, layout)
            region = window(layout.spatial_shape, truth.focus(job.options.focus))
            indices = spread_pieces(truth.indices, region, here=indices[0])
        options = replace(job.options, indices=indices, region=region, depth=None, first_look=None)
        try:
            return (
                yield from measure(
                    job.pixels,
                    model,
                    layout,
                    options,
                    truth=truth,
                    name="" if mask is None else mask.layer.name,
                    threshold=question.threshold,
                )
            )
        finally:  # others want memory, too
            release_memory(choose_device(options.device))


class MaskTruth:
    """The right planes of a mask, as `measure` asks for them: those that Fine-tune would learn.

    Parameters
    ----------
    mask : Mask
        Of planes, also where the model is for volumes.
    lesson : Lesson
        Which planes and pixels are right.
    layout : Layout
        How the image is taken apart for the model.

    Attributes
    ----------
    indices : list of Index
        Planes or volumes with something to compare with.

    Raises
    ------
    UserError
        If there is none.
    """

    def __init__(self, mask: Mask, lesson: Lesson, layout: Layout) -> None:
        self._mask, self._lesson, self._layout = mask, lesson, layout
        self._planes = [i for i in mask.corrected() if mask.is_learnt(i, lesson)]
        if not self._planes:
            raise UserError(
                f"{mask.layer.name} has no plane that is known to be right: paint in it, mark a "
                "plane as checked under Fine-tune, or compare with other masks."
            )
        self.indices = sorted({self._place(plane)[0] for plane in self._planes})

    def __call__(self, index: Index, region: Region) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Classes in a region, and where they are known."""
        shape = tuple(part.stop - part.start for part in region)
        classes, known = np.zeros(shape, np.uint8), np.zeros(shape, bool)
        for plane in self._planes:
            piece, height = self._place(plane)
            inside = [n - part.start for n, part in zip(height, region, strict=False)]
            if piece != index or any(not 0 <= n < shape[0] for n in inside):
                continue
            correction = self._mask.correction(plane, self._lesson)
            classes[(*inside, ...)] = _classes(correction)[region[-2:]]
            known[(*inside, ...)] = correction.known[region[-2:]]
        return classes, known

    def focus(self, wanted: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """Where to look: of volumes, where the right planes are."""
        heights = [n for plane in self._planes for n in self._place(plane)[1]]
        if not heights or wanted is None:
            return wanted
        return (float(np.median(heights)), *wanted[1:])

    def _place(self, plane: Index) -> tuple[Index, tuple[int, ...]]:
        """Which plane or volume a plane lies in, and of a volume how high."""
        at = dict(zip(self._mask.layout.outer_axes, plane, strict=True))
        index = tuple(at[axis] for axis in self._layout.outer_axes)
        return index, (at["Z"],) if self._layout.dims == 3 else ()


def _classes(correction: Correction) -> NDArray[Any]:
    """As painted: touching objects have no border between them here."""
    if correction.painted is None:
        return correction.classes
    return np.asarray(correction.painted > 0, np.uint8)
