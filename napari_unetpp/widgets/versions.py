"""The model before and after a fine-tuning: which of them is used, and whose masks are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_error

from napari_unetpp.errors import UserError
from napari_unetpp.models import Store
from napari_unetpp.training.messages import Result
from napari_unetpp.widgets.finetune_panel import FinetunePanel
from napari_unetpp.widgets.flip import Flip
from napari_unetpp.widgets.model_box import ModelBox
from napari_unetpp.widgets.results import Results


class Versions:
    """Shows what came of the last fine-tuning, and goes back and forth; all stay in the store.

    Parameters
    ----------
    store : Store
        The models.
    model_box : ModelBox
        Where the model is chosen.
    panel : FinetunePanel
        Shows figures and buttons.
    waits : callable
        Says whether there is a version that isn't better and may be kept all the same.
    """

    def __init__(
        self, store: Store, model_box: ModelBox, panel: FinetunePanel, waits: Callable[[], bool]
    ) -> None:
        self.flip = Flip()
        self._store, self._model_box, self._panel = store, model_box, panel
        self._waits = waits
        self._result: Result | None = None
        self._names = "", ""  # of the model that it began with, and of a new one
        self._image: Image | None = None  # whose masks are flipped
        self._newest = ""
        self._undone: list[str] = []  # the one undone last comes last
        self._used_before: dict[str, str] = {}  # by new models, which have no parent

    def begin(self) -> None:
        """A fine-tuning begins: the buttons are about the ones before."""
        self._panel.outcome.show_choices(keep=False, undo="", redo="", flip=False)

    def decided(self, result: Result, model: str, new: str = "") -> None:
        """Show what came of fine-tuning `model`, or of making the model `new` beside it."""
        self._result, self._names = result, (model, new)
        kept = result.verdict.is_kept
        self._show("" if kept else f"Not kept; {model} is used as before.")
        self._panel.say(f"Done · {result.seconds:.0f} s · {result.steps} steps")
        self.show_choices()

    def kept(self, version: str, image: Image | None, masks: Iterable[Labels]) -> None:
        """Use the new version; `masks` are those of the image on screen, by its parent."""
        self._newest, self._image, self._undone = version, image, []
        before, new = self._names
        if new:
            self._used_before[version] = before
        back = f"; Undo goes back to {before}" if new else ""
        self._show(f"Kept as {version}, which is used now{back}.")
        self.flip = Flip(before=masks)
        self._model_box.refresh(version)
        self.show_choices()

    def undo(self) -> None:
        """Back to the version before; both stay in the store."""
        version, parent = self._model_box.name, self._parent()
        if parent and self._choose(parent, version):
            self._undone.append(version)
            if version == self._newest:
                self.flip.show("before")
            self.show_choices()

    def redo(self) -> None:
        """Forth again."""
        if version := self._next():
            self._undone.pop()
            if self._choose(version, self._model_box.name) and version == self._newest:
                self.flip.show("after")
            self.show_choices()

    def segmented(self, results: Results) -> bool:
        """A run ended: these are the new masks; gives whether they are the newest version's."""
        newest = results.image is self._image and results.provenance["model"] == self._newest
        if newest:
            self.flip.after = [m.layer for m in results.layers.values() if m.layer.visible]
            self.flip.show("after")
            self.show_choices()
        return newest

    @property
    def pair(self) -> tuple[str, str]:
        """The chosen model and its parent; empty if it has none."""
        return self._model_box.name, self._parent()

    def forget(self, layer: Layer) -> None:
        """A layer is gone."""
        self.flip.forget(layer)

    def show_choices(self) -> None:
        """Offer what can be done now."""
        self._panel.outcome.show_choices(
            keep=self._waits(),
            undo=self._parent(),
            redo=self._next(),
            flip=self.flip.ready,
        )

    def _parent(self) -> str:
        """What was used before the chosen model; empty if nothing, or if that is gone."""
        try:
            parent = self._came_from(self._model_box.name)
        except UserError:
            return ""
        return parent if parent in self._store.names() else ""

    def _came_from(self, name: str) -> str:
        """What a model was fine-tuned from, or a new one was made beside."""
        return self._store.spec(name).parent_name or self._used_before.get(name, "")

    def _next(self) -> str:
        """What was undone last, if that was made from the chosen model."""
        version = self._undone[-1] if self._undone else ""
        if version not in self._store.names():
            return ""
        return version if self._came_from(version) == self._model_box.name else ""

    def _choose(self, name: str, other: str) -> bool:
        if name not in self._store.names():
            show_error(f"The model {name} was removed, so it can't be chosen: choose another.")
            return False
        self._model_box.refresh(name)
        self._show(f"{name} is used now; {other} is kept, too.")
        return True

    def _show(self, ending: str) -> None:
        if self._result is not None:
            self._panel.outcome.show_result(self._result, ending, self._names)
