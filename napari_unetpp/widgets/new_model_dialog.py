"""The window "New model": its name, which network, how long; what doesn't fit is told at once."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unetpp.errors import UserError
from napari_unetpp.models import ModelSpec, Store
from napari_unetpp.widgets.draft import (
    NAMED,
    checked_name,
    heads_of,
    parsed_classes,
    size_text,
    spec_of,
)
from napari_unetpp.widgets.fold import Fold
from napari_unetpp.widgets.parts_form import PartsForm
from napari_unetpp.widgets.plan import NewModel
from napari_unetpp.widgets.size_counter import SizeCounter
from napari_unetpp.widgets.size_row import SizeRow

WIDTH = 520
MINUTES = 5.0
"""From nothing it takes longer than from a model that has learnt."""
OWN = "own"
COUNTED = "counted"
"""A name for what is just counted."""


class NewModelDialog(QDialog):
    """Ask which model to make.

    Parameters
    ----------
    store : Store
        Knows which names are free.
    like : ModelSpec
        Of the chosen model: the new one looks at the same images.
    counter : SizeCounter
        Says how large networks are.
    learn : sequence of str
        What can be right in the masks, as the dock offers it.
    parent : QWidget, optional
        As in Qt.
    """

    train_clicked = Signal()

    def __init__(
        self,
        store: Store,
        like: ModelSpec,
        counter: SizeCounter,
        learn: Sequence[str],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("New model")
        self._store, self._like, self._counter = store, like, counter
        self._bare = like.model_copy(update={"history": ()})
        self.name_edit, self.classes_edit = QLineEdit(), QLineEdit(", ".join(like.classes))
        self.network_box, self.size_row = QComboBox(), SizeRow()
        self.learn_box, self.minutes_box = QComboBox(), QDoubleSpinBox()
        self.parts = PartsForm()
        self.parts_fold = Fold("Parts", self.parts)
        self.figures, self.note, self.problem = QLabel(), QLabel(), QLabel()
        self.train_button, self.cancel_button = QPushButton("Train"), QPushButton("Cancel")
        self._named = next(iter(NAMED))  # whose widths are offered
        self._missing = ""
        self.learn_box.addItems(learn)
        self._lay_out()
        self._connect()
        self._refresh()

    @property
    def new_model(self) -> NewModel:
        """What is to be made.

        Raises
        ------
        UserError
            If that can't be; in one sentence.
        """
        new = self._drafted(self.size_row.widths)
        spec_of(new, self._like)
        name = checked_name(self.name_edit.text(), self._store)
        return NewModel(**{**vars(new), "name": name})

    def show_to_learn(self, sentence: str, missing: str) -> None:
        """Say what it learns from; if there is nothing, `missing` says what to do."""
        like = self._like
        channels = "channel" if like.in_channels == 1 else "channels"
        pieces = "planes" if like.dims == 2 else "volumes"
        looks = f"Looks at {pieces} of {like.in_channels} {channels}, as {like.name} does."
        self.note.setText(f"{sentence} {looks}".strip())
        self._missing = missing
        self._show_problem()

    def say(self, sentence: str) -> None:
        """Say why it can't be trained now."""
        self.problem.setText(sentence)

    def _drafted(self, widths: tuple[int, ...]) -> NewModel:
        architecture = self.parts.architecture
        return NewModel(
            name=COUNTED,
            classes=parsed_classes(self.classes_edit.text()),
            architecture=architecture,
            widths=widths,
            heads=heads_of(architecture, len(widths) - 1, self.parts.supervised),
        )

    def _spec(self, widths: tuple[int, ...]) -> ModelSpec | None:
        try:
            return spec_of(self._drafted(widths), self._like)
        except UserError:
            return None

    def _refresh(self) -> None:
        """Another network: count it, and see whether it fits."""
        self.size_row.offer(NAMED[self._named])
        specs = [self._spec(widths) for widths in self.size_row.offered]
        self._counter.ask([self._bare, *(spec for spec in specs if spec is not None)])
        self._show_sizes()
        self._show_problem()

    def _show_sizes(self) -> None:
        known = self._counter.known
        parameters = {}
        for widths in self.size_row.offered:
            spec = self._spec(widths)
            if spec in known:
                parameters[widths] = known[spec].parameters
        self.size_row.show_parameters(parameters)
        self.figures.setText(self._told_size())

    def _told_size(self) -> str:
        try:
            spec = self._spec(self.size_row.widths)
        except UserError:
            return ""
        if spec is None:
            return ""
        known = self._counter.known
        size, like = known.get(spec), known.get(self._bare)
        return "Counting …" if size is None else size_text(spec, size, self._like.name, like)

    def _show_problem(self) -> None:
        problem = self._missing
        if not problem:
            try:
                self.new_model  # noqa: B018
            except UserError as error:
                problem = str(error)
        self.problem.setText(problem)
        self.train_button.setEnabled(not problem)

    def _on_network(self, _: int) -> None:
        name = self.network_box.currentData()
        if name == OWN:
            self.parts_fold.open()
            return
        self._named = name
        self.parts.show_parts(NAMED[name].architecture, NAMED[name].supervised)
        self._refresh()

    def _on_parts(self) -> None:
        chosen = (self.parts.architecture, self.parts.supervised)
        names = [self._named, *NAMED]
        fits = (n for n in names if (NAMED[n].architecture, NAMED[n].supervised) == chosen)
        self.network_box.blockSignals(True)
        self.network_box.setCurrentIndex(self.network_box.findData(next(fits, OWN)))
        self.network_box.blockSignals(False)
        self._refresh()

    def _fit(self, *_: object) -> None:
        """As high as what is shown now."""
        self.adjustSize()

    def _connect(self) -> None:
        self.name_edit.textChanged.connect(self._show_problem)
        self.classes_edit.textChanged.connect(self._refresh)
        self.network_box.currentIndexChanged.connect(self._on_network)
        self.size_row.changed.connect(self._refresh)
        self.parts.changed.connect(self._on_parts)
        self.parts_fold.toggled.connect(self._fit)
        self.size_row.box.currentIndexChanged.connect(self._fit)
        self._counter.counted.connect(self._show_sizes)
        self.train_button.clicked.connect(self.train_clicked)
        self.cancel_button.clicked.connect(self.close)

    def _lay_out(self) -> None:
        self.setMinimumWidth(WIDTH)
        self.name_edit.setPlaceholderText("like membranes")
        self.name_edit.setToolTip("Letters, digits, spaces and . _ + -; nothing is overwritten")
        self.classes_edit.setToolTip("A name for each class in your masks, with commas between")
        for number, name in enumerate(NAMED):
            self.network_box.addItem(f"{name} (recommended)" if number == 0 else name, name)
        self.network_box.addItem("own, of the parts below", OWN)
        self.learn_box.setToolTip("Which pixels of your masks are right, as under Fine-tune")
        self.minutes_box.setRange(0.1, 600)
        self.minutes_box.setDecimals(1)
        self.minutes_box.setValue(MINUTES)
        self.minutes_box.setSuffix(" min")
        self.minutes_box.setToolTip("Larger networks need more; Stop keeps the best so far")
        for box in (self.network_box, self.learn_box, self.minutes_box):
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for label in (self.figures, self.note, self.problem):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.problem.setStyleSheet("color: #ff3c7d; font-weight: bold;")
        for label, lines in ((self.figures, 2), (self.note, 2), (self.problem, 3)):
            label.setMinimumHeight(lines * label.fontMetrics().lineSpacing())
        self.problem.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.cancel_button.setAutoDefault(False)

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for title, widget in (
            ("Name", self.name_edit),
            ("Finds", self.classes_edit),
            ("Network", self.network_box),
            ("Size", self.size_row),
            ("Learn from", self.learn_box),
            ("Time", self.minutes_box),
        ):
            form.addRow(title, widget)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.train_button)
        buttons.addWidget(self.cancel_button)
        column = QVBoxLayout(self)
        column.addLayout(form)
        for part in (self.parts_fold, self.figures, self.note, self.problem):
            column.addWidget(part)
        column.addStretch()
        column.addLayout(buttons)
