"""The model before and after a fine-tuning: which of them is used, and whose masks are shown."""

from __future__ import annotations

from collections.abc import Iterable

from napari.layers import Labels, Layer
from napari.utils.notifications import show_error

from napari_unetpp.models import Store
from napari_unetpp.training.messages import Result
from napari_unetpp.widgets.finetune_panel import FinetunePanel
from napari_unetpp.widgets.flip import Flip
from napari_unetpp.widgets.model_box import ModelBox
from napari_unetpp.widgets.results import Results


class Versions:
    """Shows what came of the last fine-tuning, and goes back and forth; both stay in the store.

    Parameters
    ----------
    store : Store
        The models.
    model_box : ModelBox
        Where the model is chosen.
    panel : FinetunePanel
        Shows figures and buttons.
    """

    def __init__(self, store: Store, model_box: ModelBox, panel: FinetunePanel) -> None:
        self.flip = Flip()
        self._store, self._model_box, self._panel = store, model_box, panel
        self._result: Result | None = None
        self._pair: tuple[str, str] | None = None  # the parent and its new version

    def begin(self) -> None:
        """A fine-tuning begins: the buttons are about the one before."""
        self._result = None
        self._panel.show_choices(keep=False, undo="", flip=False)

    def decided(self, result: Result, model: str) -> None:
        """Show what came of fine-tuning `model`."""
        self._result = result
        better = result.verdict.outcome == "better"
        self._panel.show_result(result, "" if better else f"Not kept; {model} is used as before.")
        self._panel.show_choices(keep=not better, undo="", flip=False)
        self._panel.say(f"Done · {result.seconds:.0f} s · {result.steps} steps")

    def kept(self, parent: str, version: str, masks: Iterable[Labels]) -> None:
        """Use the new version; `masks` are those of its parent that are on screen."""
        self._pair = parent, version
        if self._result is not None:
            self._panel.show_result(self._result, f"Kept as {version}, which is used now.")
        self.flip = Flip(before=masks)
        self._model_box.refresh(version)
        self._show_choices()

    def toggle_undo(self) -> None:
        """Back to the version before, or forth again."""
        if self._pair is None:
            return
        parent, version = self._pair
        back = self._model_box.name == version
        target, other = (parent, version) if back else (version, parent)
        if target not in self._store.names():
            show_error(f"The model {target} was removed, so it can't be chosen: choose another.")
            return
        self._model_box.refresh(target)
        self.flip.show("before" if back else "after")
        if self._result is not None:
            self._panel.show_result(self._result, f"{target} is used now; {other} is kept, too.")
        self._show_choices()

    def segmented(self, results: Results | None) -> None:
        """A run ended: these are the new masks."""
        if results is None or self._pair is None:
            return
        if results.provenance["model"] == self._pair[1]:
            self.flip.after = [m.layer for m in results.layers.values() if m.layer.visible]
            self.flip.show("after")
        self._show_choices()

    def forget(self, layer: Layer) -> None:
        """A layer is gone."""
        self.flip.forget(layer)

    def _show_choices(self) -> None:
        if self._pair is not None:
            undo = "Undo" if self._model_box.name == self._pair[1] else "Redo"
            self._panel.show_choices(keep=False, undo=undo, flip=self.flip.ready)
