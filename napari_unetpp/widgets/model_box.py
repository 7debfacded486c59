"""Choose a model; look at it, take one in, give it away, remove it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QMessageBox,
    QToolButton,
    QWidget,
)

from napari_unetpp.errors import UserError
from napari_unetpp.models import DEFAULT_MODEL, ModelSpec, Store
from napari_unetpp.widgets.model_text import history_text, model_text

_FILES = "Models (*.safetensors)"


class ModelBox(QWidget):
    """The models of a store, with a menu for what can be done to the chosen one.

    Parameters
    ----------
    store : Store
        Where the models are.
    parent : QWidget, optional
        As in Qt.
    """

    model_changed = Signal(str)
    """The name of the model that is chosen now."""
    new_clicked = Signal()
    """The user wants to make a model."""

    def __init__(self, store: Store, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.store = store
        self.names = QComboBox()
        self.names.setToolTip("The model: what the network has learnt to find")
        menu = QMenu(self)
        menu.addAction("New model…", self.new_clicked.emit)
        menu.addSeparator()
        menu.addAction("Info…", self._show_info)
        menu.addAction("History…", self._show_history)
        menu.addAction("Import…", self._import)
        menu.addAction("Export…", self._export)
        self._remove_action = QAction("Remove…", self)
        self._remove_action.triggered.connect(self._remove)
        menu.addAction(self._remove_action)
        more = QToolButton()
        more.setText("⋯")
        more.setToolTip("New model, info, history, import, export, remove")
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(menu)
        more.setStyleSheet("QToolButton::menu-indicator { image: none; }")

        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.names, stretch=1)
        row.addWidget(more)

        menu.aboutToShow.connect(self._allow_removal)
        self.names.currentTextChanged.connect(self.model_changed)
        self.refresh(DEFAULT_MODEL)

    @property
    def name(self) -> str:
        """The chosen model; empty if there is none."""
        return str(self.names.currentText())

    def spec(self) -> ModelSpec:
        """What the chosen model says about itself.

        Raises
        ------
        UserError
            If there is none, or its file is damaged.
        """
        return self.store.spec(self.name)

    def refresh(self, choose: str = "") -> None:
        """Read the store again, and choose a model."""
        choose = choose or self.name
        self.names.blockSignals(True)
        self.names.clear()
        self.names.addItems(self.store.names())
        self.names.setCurrentText(choose)
        self.names.blockSignals(False)
        self.model_changed.emit(self.name)

    def _allow_removal(self) -> None:
        self._remove_action.setEnabled(bool(self.name) and not self.store.is_shipped(self.name))

    def _show_info(self) -> None:
        self._show(lambda: model_text(self.spec()))

    def _show_history(self) -> None:
        self._show(lambda: history_text(self.store, self.name))

    def _show(self, text: Callable[[], str]) -> None:
        try:
            told = text()
        except UserError as error:
            show_error(str(error))
            return
        box = QMessageBox(self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setWindowTitle(f"Model {self.name}")
        box.setText(told)
        box.open()

    def _import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import a model", "", _FILES)
        if path:
            self._try(lambda: self.refresh(self.store.add(Path(path))))

    def _export(self) -> None:
        suggested = f"{self.name}.safetensors"
        path, _ = QFileDialog.getSaveFileName(self, "Export the model", suggested, _FILES)
        if path:  # the dialog has asked whether an existing file is to be replaced
            self._try(lambda: self.store.export(self.name, Path(path), force=True))

    def _remove(self) -> None:
        name = self.name
        question = f"Remove the model {name} for good?"
        if QMessageBox.question(self, "Remove", question) == QMessageBox.StandardButton.Yes:
            self._try(lambda: self.store.remove(name))
            self.refresh(DEFAULT_MODEL)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except UserError as error:
            show_error(str(error))
        else:
            show_info("Done.")
