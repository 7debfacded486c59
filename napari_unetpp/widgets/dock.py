"""The dock: it puts the panels together and carries what they say to the session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from napari.utils.notifications import show_error, show_info, show_warning
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QApplication, QGroupBox, QScrollArea, QVBoxLayout, QWidget

from napari_unetpp.errors import UserError
from napari_unetpp.models import Store
from napari_unetpp.widgets.canvas import canvas_beside
from napari_unetpp.widgets.depths_part import DepthsPart
from napari_unetpp.widgets.finetune_part import FinetunePart
from napari_unetpp.widgets.fold import Fold
from napari_unetpp.widgets.geometry import go_to_next
from napari_unetpp.widgets.heads_part import HeadsPart
from napari_unetpp.widgets.job import make_job
from napari_unetpp.widgets.new_model_part import NewModelPart
from napari_unetpp.widgets.preferences import read_preferences
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.run import Run
from napari_unetpp.widgets.segment_panel import SegmentPanel
from napari_unetpp.widgets.session import Session
from napari_unetpp.widgets.shortcuts import Shortcuts
from napari_unetpp.widgets.spinner import AS_EVER, SLOWLY, turn_spinner
from napari_unetpp.widgets.two_llvms import keep_triton_out
from napari_unetpp.widgets.warm_up import warm_up
from napari_unetpp.widgets.window_close import WindowClose


class SegmentDock(QScrollArea):
    """UNet++ in napari: segment the chosen image, and look at its heads.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.preferences = read_preferences()
        self.segment_panel = SegmentPanel(napari_viewer.layers, Store(), self.preferences)
        self.session = Session(napari_viewer, self)
        self.heads_part = HeadsPart(
            self.session, self.segment_panel, self.preferences.threshold, self
        )
        self.heads_panel = self.heads_part.panel
        self.finetune_part = FinetunePart(napari_viewer, self.segment_panel, self)
        self.depths_part = DepthsPart(
            napari_viewer, self.segment_panel, self.finetune_part, self._is_busy, self
        )
        self.new_model_part = NewModelPart(self.segment_panel, self.finetune_part, self)
        self._shortcuts = Shortcuts(napari_viewer, self._actions())
        self._window_close = WindowClose(self)
        self._open = True
        self._lay_out()
        self._connect()
        keep_triton_out()  # before torch is imported
        QTimer.singleShot(0, self._warm_up)  # which would slow down what is left to be made

    @property
    def running(self) -> bool:
        """Whether a run is on."""
        return self.session.run is not None

    @property
    def results(self) -> Results | None:
        """What was computed for the chosen image."""
        return self.heads_part.results

    def segment(self) -> None:
        """Do what the panel asks for; what is wrong with it is shown as a notification."""
        if self.running:
            return
        panel = self.segment_panel
        try:
            request = panel.request()
            job = make_job(request, panel.model_box.store, self.viewer, canvas_beside(self))
        except UserError as error:
            show_error(str(error))
            return
        self.depths_part.cancel()  # its times would be wrong
        self.session.start(request.image, job, self.heads_panel.slider.value())

    def ask_how_deep(self) -> None:
        """Measure the heads on the chosen image."""
        self.depths_part.ask(self.heads_panel.slider.value)

    def cancel(self) -> None:
        """End the run; what is computed stays."""
        if self.running:
            self.session.cancel()
            self.segment_panel.say("Ends after this tile …")

    def finetune_and_go_on(self) -> None:
        """Fine-tune, then segment the next plane or image."""
        self.depths_part.cancel()
        self.finetune_part.start(go_on=True)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Bind the shortcuts while the dock is on screen."""
        super().showEvent(event)
        self._window_close.watch(self)
        if self.preferences.shortcuts and self._open:
            self._shortcuts.bind()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Give the shortcuts back."""
        super().hideEvent(event)
        self._shortcuts.release()

    def changeEvent(self, event: QEvent | None) -> None:
        """End all when napari takes the dock out of its window, which is how it closes one."""
        super().changeEvent(event)
        removed = event is not None and event.type() == QEvent.Type.ParentChange
        if removed and self.parent() is None and self._open:
            self._end()
            self.deleteLater()

    def _on_quit(self) -> None:
        self._end()
        self.finetune_part.keeper.wait()  # what begins in here, Qt doesn't wait for any more

    def _end(self) -> None:
        """End what is on, save what is painted, and let go of the viewer."""
        if self._open:
            self._open = False
            self._shortcuts.release()
            self.session.close()
            self.depths_part.close()
            self.new_model_part.close()
            self.finetune_part.close()
            self.segment_panel.disconnect_layers()

    def _warm_up(self) -> None:
        box = self.segment_panel.model_box
        if box.name:
            warm_up(box.store.path(box.name))

    def _is_busy(self) -> bool:
        return self.running or self.finetune_part.running

    def _on_depth_used(self, head: str) -> None:
        """The ensemble is no depth: it is shown as soon as there is one."""
        if head not in self.heads_panel.boxes or head in self.segment_panel.depth_row.choices:
            return
        if not self.heads_part.show_layer(head):
            show_info(f"Segment the image, then tick {head} under Heads.")

    def _on_run(self, run: Run) -> None:
        panel = self.segment_panel
        panel.run_part.show_running(True)
        turn_spinner(self.window(), SLOWLY)
        run.status.connect(panel.run_part.show_status)
        run.notice.connect(show_warning)
        run.failed.connect(self._on_failed)
        run.ended.connect(partial(self._on_ended, run))

    def _on_failed(self, error: Exception) -> None:
        if not isinstance(error, UserError):
            raise error  # a bug: napari shows it with its traceback
        show_error(str(error))

    def _on_ended(self, run: Run, complete: bool) -> None:
        self.segment_panel.run_part.show_running(False)
        turn_spinner(self.window(), AS_EVER)
        if run.last_status is None:
            self.segment_panel.say("Cancelled." if run.cancelled else "")
            return
        status = run.last_status
        end = "Done" if complete else "Cancelled; what was computed is kept"
        if run.error is not None:
            end = "Failed; what was computed is kept"
        self.finetune_part.segmented(self.results)
        self.segment_panel.say(
            f"{end} · {status.seconds:.1f} s · {status.device}{status.size}", status.reason
        )

    def _on_training(self) -> None:
        """A new model is being trained: show how far it is."""
        self.depths_part.cancel()
        self.finetune_fold.open()
        QTimer.singleShot(0, self._show_training)  # once the fold is laid out

    def _show_training(self) -> None:
        self.ensureWidgetVisible(self.finetune_part.panel.message)

    def _segment_anew(self) -> None:
        """With the model that was chosen just now; a run with another one ends first."""
        if self.session.run is None:
            self.segment()
        else:
            self.session.run.ended.connect(self._segment_later)
            self.session.cancel()

    def _segment_later(self) -> None:
        QTimer.singleShot(0, self.segment)  # the session is about to hear of the end, too

    def _segment_next(self) -> None:
        """Go to the next plane of the image, or after the last to the next image; segment it."""
        panel = self.segment_panel
        try:
            request = panel.request()
        except UserError as error:
            show_error(str(error))
            return
        if not go_to_next(self.viewer, request.image, request.layout):
            panel.image_box.choose_next()
        self._segment_anew()

    def _on_image(self) -> None:
        self.session.cancel()
        self.heads_part.take_image()

    def _actions(self) -> dict[str, Callable[[], None]]:
        actions: dict[str, Callable[[], None]] = {
            "Alt-G": self.segment_panel.button.click,
            "Alt-U": self.heads_part.next_uncertain,
            "Alt-T": self.finetune_and_go_on,
            "Alt-M": self.finetune_part.mark_checked,
            "Alt-B": self.finetune_part.turn,
        }
        for number in range(1, 5):
            actions[f"Alt-{number}"] = partial(self.heads_panel.toggle, f"L{number}")
            actions[f"Control-Alt-{number}"] = partial(self.heads_part.solo, f"L{number}")
        return actions

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        for title, panel in (("Segment", self.segment_panel), ("Heads", self.heads_panel)):
            group = QGroupBox(title)
            QVBoxLayout(group).addWidget(panel)
            column.addWidget(group)
        finetune = QGroupBox()
        self.finetune_fold = Fold("Fine-tune", self.finetune_part.panel)
        QVBoxLayout(finetune).addWidget(self.finetune_fold)
        column.addWidget(finetune)
        column.addStretch()
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(340)

    def _connect(self) -> None:
        self.segment_panel.run_part.segment_clicked.connect(self.segment)
        self.segment_panel.run_part.cancel_clicked.connect(self.cancel)
        self.segment_panel.how_deep_clicked.connect(self.ask_how_deep)
        self.depths_part.used.connect(self._on_depth_used)
        self.segment_panel.image_changed.connect(self._on_image)
        self.segment_panel.cache_row.let_go = self.session.forget_closed
        self.session.run_started.connect(self._on_run)
        self.session.failed.connect(self._on_failed)
        self.session.layer_made.connect(self.finetune_part.watch)
        self.new_model_part.started.connect(self._on_training)
        self.finetune_fold.toggled.connect(self.finetune_part.open)
        self.finetune_part.segment_wanted.connect(self._segment_anew)
        self.finetune_part.next_wanted.connect(self._segment_next)
        self.session.painted.connect(lambda name: show_info(f"{name} is kept as you painted it."))
        self._window_close.closed.connect(self._end)
        if (app := QApplication.instance()) is not None:
            app.aboutToQuit.connect(self._on_quit)
