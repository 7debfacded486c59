"""The dock's first part: which image, which model, how deep, where; Segment, and how far it is."""

from __future__ import annotations

from napari.components import LayerList
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.remembered import recall
from napari_unetpp.inference.layout import Layout
from napari_unetpp.models import Store
from napari_unetpp.models.header import read_digest
from napari_unetpp.widgets.advanced_form import AdvancedForm
from napari_unetpp.widgets.axes_edit import AxesEdit
from napari_unetpp.widgets.channel_row import ChannelRow
from napari_unetpp.widgets.depth_row import DepthRow
from napari_unetpp.widgets.fold import Fold
from napari_unetpp.widgets.geometry import image_data, is_result
from napari_unetpp.widgets.job import Request
from napari_unetpp.widgets.known_axes import axes_of, remember_axes
from napari_unetpp.widgets.layer_box import LayerBox
from napari_unetpp.widgets.model_box import ModelBox
from napari_unetpp.widgets.preferences import Preferences
from napari_unetpp.widgets.run_part import RunPart
from napari_unetpp.widgets.sources import check_match
from napari_unetpp.widgets.where_row import WhereRow


class SegmentPanel(QWidget):
    """Ask what to segment and show how far it is.

    Parameters
    ----------
    layers : LayerList
        The viewer's.
    store : Store
        The models.
    preferences : Preferences
        First values.
    parent : QWidget, optional
        As in Qt.
    """

    how_deep_clicked = Signal()
    image_changed = Signal()

    def __init__(
        self,
        layers: LayerList,
        store: Store,
        preferences: Preferences,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.image_box = LayerBox(layers, Image, lambda layer: not is_result(layer))
        self.axes_edit = AxesEdit()
        self.model_box = ModelBox(store)
        self.depth_row = DepthRow(f"L{preferences.depth}")
        self.how_deep_button = QPushButton("How deep?")
        self.where_row = WhereRow()
        self.full_size_box = QCheckBox("full size")
        self.channel_row = ChannelRow(layers)
        self.channel_label = QLabel("Channel")
        self.run_part = RunPart()
        self.button, self.bar = self.run_part.button, self.run_part.bar
        self.message, self.say = self.run_part.message, self.run_part.say
        self.advanced = advanced = AdvancedForm(preferences)
        self.device_box, self.tile_box = advanced.device_box, advanced.tile_box
        self.background_box, self.cache_row = advanced.background_box, advanced.cache_row
        self._watched: Image | None = None
        self._lay_out()

        self.image_box.layer_changed.connect(self._on_image)
        self.axes_edit.axes_changed.connect(self._on_axes)
        self.model_box.model_changed.connect(self._on_model)
        self.how_deep_button.clicked.connect(self.how_deep_clicked)
        self.device_box.currentTextChanged.connect(self._on_model)
        self.channel_row.needed.connect(self.channel_label.setVisible)

        self._on_model()
        self._on_image()

    @property
    def image(self) -> Image | None:
        """The chosen image."""
        layer = self.image_box.layer
        return layer if isinstance(layer, Image) else None

    def request(self) -> Request:
        """What the user asks for.

        Raises
        ------
        UserError
            If no image is chosen, the axes don't fit, or other layers don't lie on the image.
        """
        if self.image is None:
            raise UserError("There is no image to segment: open one, or take File ▸ Open Sample.")
        dims, sources = self.model_box.spec().dims, self.channel_row.sources(self.image)
        for layer in sources.layers:
            check_match(self.image, layer)
        axes = sources.axes(self.axes_edit.axes)
        return Request(
            image=self.image,
            sources=sources,
            layout=Layout.of(sources.pixels(), axes, dims=dims),
            model=self.model_box.name,
            channels=self.channel_row.channels,
            full_size=self.full_size_box.isChecked(),
            depth=int(self.depth_row.value.removeprefix("L")),
            where=self.where_row.value,
            device=self.device_box.currentText(),
            tile=self.tile_box.value() or None,
            background=self.background_box.currentText(),
        )

    def show_depths(self) -> None:
        """Offer the heads of the model, and show what is remembered of them on the device."""
        box, device = self.model_box, self.device_box.currentText()
        digest = read_digest(box.store.path(box.name))
        self.depth_row.offer(
            [f"L{k}" for k in box.spec().heads],
            recall(box.store.depths_file(digest), device),
            of=(digest, device),
        )

    def disconnect_layers(self) -> None:
        """Let go of the viewer's layers, before the panel is thrown away."""
        self._watch(None)
        self.image_box.disconnect_layers()
        self.channel_row.disconnect_layers()

    def _lay_out(self) -> None:
        self.full_size_box.setToolTip("Segment the view at full size, not as it is shown")
        self.full_size_box.setVisible(False)
        self.how_deep_button.setToolTip(
            "Measure each head on this image and device, and take the cheapest that is good enough"
        )

        image_row = QHBoxLayout()
        image_row.addWidget(self.image_box, stretch=1)
        image_row.addWidget(self.axes_edit)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Image", image_row)
        form.addRow("Model", self.model_box)
        depth = QHBoxLayout()
        depth.addWidget(self.depth_row, stretch=1)
        depth.addWidget(self.how_deep_button)
        form.addRow("Depth", depth)
        form.addRow(self.channel_label, self.channel_row)
        where = QHBoxLayout()
        where.addWidget(self.where_row, stretch=1)
        where.addWidget(self.full_size_box)
        form.addRow("Where", where)

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addWidget(self.run_part)
        self.advanced_fold = Fold("Advanced", self.advanced)
        column.addWidget(self.advanced_fold)

    def _on_model(self) -> None:
        try:
            spec = self.model_box.spec()
        except UserError as error:
            self.say(str(error))
            return
        self.where_row.show_words(spec.dims)
        self.show_depths()
        self._offer_channels()
        self._offer_where()

    def _on_image(self, _: object = None) -> None:
        image = self.image
        self.run_part.enable(image is not None)
        self.how_deep_button.setEnabled(image is not None)
        if image is None:
            self.axes_edit.show_axes("", ())
            self.say("Open an image to begin, or take File ▸ Open Sample.")
        else:
            try:
                axes = axes_of(image)
            except UserError as error:
                axes = ""
                self.say(str(error))
            else:
                self.say("")
            self.axes_edit.show_axes(axes, tuple(image_data(image).shape), rgb=image.rgb)
            self._offer_where(suggest=True)
        self._offer_channels()
        self.full_size_box.setVisible(image is not None and image.multiscale)
        self._watch(image)
        self.image_changed.emit()

    def _watch(self, image: Image | None) -> None:
        """Other pixels may need other axes."""
        if self._watched is not None:
            self._watched.events.data.disconnect(self._on_image)
        self._watched = image
        if image is not None:
            image.events.data.connect(self._on_image)

    def _on_axes(self, axes: str) -> None:
        assert self.image is not None
        remember_axes(self.image, axes)
        self._offer_where(suggest=True)
        self._offer_channels()

    def _offer_where(self, *, suggest: bool = False) -> None:
        try:
            layout = self.request().layout
        except UserError:
            return
        self.where_row.offer(layout)
        if suggest:
            self.where_row.suggest(layout)

    def _offer_channels(self) -> None:
        try:
            in_channels, layout = self.model_box.spec().in_channels, self._layout()
        except UserError:
            in_channels, layout = 1, None
        self.channel_row.offer(self.image, layout, in_channels)

    def _layout(self) -> Layout | None:
        """Of the chosen layer, without others."""
        return self.image and Layout.of(image_data(self.image), self.axes_edit.axes)
