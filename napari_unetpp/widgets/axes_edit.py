"""The axes of the image, guessed, to be corrected, and checked while typing."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLineEdit, QWidget

from napari_unetpp.errors import UserError
from napari_unetpp.inference.axes import check_axes

_HELP = "One letter for each axis of the image: T time, Z depth, C channel, Y and X"


class AxesEdit(QLineEdit):
    """A line for an axes string; what is wrong with it turns it red and stands in its tooltip."""

    axes_changed = Signal(str)
    """Axes that fit, typed by the user."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shape: tuple[int, ...] = ()
        self._rgb = False
        self.problem = ""
        self.setMaxLength(8)
        self.setFixedWidth(64)
        self.textChanged.connect(self._check)
        self.textEdited.connect(self._tell)

    @property
    def axes(self) -> str:
        """The axes.

        Raises
        ------
        UserError
            If they don't fit the image.
        """
        axes = check_axes(self.text(), self._shape)
        if self._rgb and not axes.endswith("C"):
            raise UserError(
                f"The axes {axes!r} don't end with C, but the image is colour: end them with C, or "
                "take Layers ▸ Split RGB."
            )
        return axes

    def show_axes(self, axes: str, shape: tuple[int, ...], *, rgb: bool = False) -> None:
        """Show the axes of an image of this shape, of which napari may show the last as colour."""
        self._shape, self._rgb = shape, rgb
        self.setText(axes)
        self._check()

    def _check(self) -> None:
        try:
            self.axes  # noqa: B018
        except UserError as error:
            self.problem = str(error)
        else:
            self.problem = ""
        self.setStyleSheet("border: 1px solid #ff3c7d;" if self.problem else "")
        self.setToolTip(self.problem or _HELP)

    def _tell(self) -> None:
        self._check()  # Qt tells of what the user edits before it tells that the text is another
        if not self.problem:
            self.axes_changed.emit(self.axes)
