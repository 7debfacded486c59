"""What binds the list of heads to the results of the chosen image."""

from __future__ import annotations

from qtpy.QtCore import QObject

from napari_unetpp.widgets.canvas import canvas_beside
from napari_unetpp.widgets.heads_panel import HeadsPanel
from napari_unetpp.widgets.results import Results
from napari_unetpp.widgets.segment_panel import SegmentPanel
from napari_unetpp.widgets.session import Session


class HeadsPart(QObject):
    """Show and hide layers, threshold them, and go through what is uncertain.

    Parameters
    ----------
    session : Session
        Has the results.
    segment_panel : SegmentPanel
        Knows which image is chosen.
    threshold : float
        To begin with.
    parent : QObject, optional
        As in Qt.

    Attributes
    ----------
    panel : HeadsPanel
        What the user sees of it.
    """

    def __init__(
        self,
        session: Session,
        segment_panel: SegmentPanel,
        threshold: float,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._segment_panel = session, segment_panel
        self.panel = HeadsPanel(threshold)
        self.panel.toggled.connect(self._on_toggled)
        self.panel.soloed.connect(self.solo)
        self.panel.threshold_changed.connect(self._on_threshold)
        self.panel.next_clicked.connect(self.next_uncertain)
        segment_panel.model_box.model_changed.connect(self.refresh)
        session.results_changed.connect(self.refresh)
        self.refresh()

    @property
    def results(self) -> Results | None:
        """What was computed for the chosen image."""
        return self._session.results_of(self._segment_panel.image)

    def refresh(self) -> None:
        """Tell the panel what there is and what is visible."""
        results = self.results
        heads = self._segment_panel.depth_row.choices if results is None else results.head_keys
        self.panel.offer_heads(heads)
        visible = {} if results is None else results.shown.visible
        self.panel.show_state(visible, [] if results is None else results.available)

    def take_image(self) -> None:
        """Another image is chosen."""
        if self.results is not None:
            self.panel.slider.setValue(self.results.threshold)
        self.refresh()

    def show_layer(self, key: str) -> bool:
        """Show what is computed of `key`; False if nothing is."""
        if not self.panel.boxes[key].isEnabled() or self.results is None:
            return False
        self.results.show(key)
        self.refresh()
        return True

    def solo(self, key: str) -> None:
        """Show one head alone; once more, and all heads are back."""
        if self.results is not None:
            self.results.shown.solo(key)
            self.refresh()

    def next_uncertain(self) -> None:
        """Go to the next place where the masks are unsure."""
        if derived := self._session.derived_of(self._segment_panel.image):
            derived.go_to_next_place(canvas_beside(self.panel))

    def _on_toggled(self, key: str, on: bool) -> None:
        if self.results is not None:
            (self.results.show if on else self.results.shown.hide)(key)

    def _on_threshold(self, threshold: float) -> None:
        if self.results is not None:
            self.results.set_threshold(threshold)
        if derived := self._session.derived_of(self._segment_panel.image):
            derived.refresh()
