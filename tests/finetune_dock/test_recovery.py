"""Painting of an earlier session is found again, and brought back where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hands import (
    SHAPE,
    own_mask,
    press,
    stroke,
)

from napari_unetpp.models import Store
from napari_unetpp.models.file import save_model
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Source, correct
from napari_unetpp.widgets import SegmentDock


@pytest.fixture
def crashed(tiny_store: Store, tiny_model: Any) -> Callable[..., Any]:
    """Leave a correction as a session that crashed; gives its labels."""

    def leave(image: Any, name: str = "cells", index: tuple[int, ...] = ()) -> Any:
        plane = image[index]
        labels = own_mask(plane.shape)
        source = Source(image=name, shape=image.shape, index=index, layer="of before")
        correction = correct(plane[None], labels, kind="classes", source=source)
        CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest)).save(correction)
        return labels

    return leave


def offer(dock: SegmentDock) -> str:
    panel = dock.finetune_part.panel
    shown = panel.restore_row.isVisibleTo(panel)
    assert shown == bool(panel.restore_label.text())
    return str(panel.restore_label.text())


def restore(qtbot: Any, dock: SegmentDock) -> None:
    with qtbot.waitSignal(dock.finetune_part.recovery.ended, timeout=10_000):
        dock.finetune_part.panel.restore_button.click()


def test_corrections_of_an_earlier_session_are_brought_back(qtbot, viewer, dock, child, crashed):
    image = np.random.default_rng(0).integers(0, 4000, (3, *SHAPE), np.uint16)
    labels = crashed(image, index=(1,))
    viewer.add_image(image, name="cells", scale=(2, 0.5, 0.5))
    assert "1 corrected plane of this image" in offer(dock)
    restore(qtbot, dock)
    assert not offer(dock)
    layer = viewer.layers["cells · corrected"]
    np.testing.assert_array_equal(layer.data[1], labels)
    assert not layer.data[[0, 2]].any()
    np.testing.assert_allclose(layer.scale, (2, 0.5, 0.5))
    press(qtbot, dock)
    (correction,) = child.learnt()
    np.testing.assert_array_equal(correction.classes, labels)


def test_closing_and_opening_the_dock_brings_painting_back(
    qtbot, viewer, dock, open_dock, segmented
):
    layer = segmented()
    stroke(layer, 10, 12)
    painted = layer.data.copy()
    viewer.window.remove_dock_widget(dock)
    for old in list(viewer.layers)[1:]:
        viewer.layers.remove(old)
    again = open_dock()
    assert "1 corrected plane" in offer(again)
    restore(qtbot, again)
    np.testing.assert_array_equal(viewer.layers["cells · corrected"].data, painted)


def test_painting_on_restored_corrections_replaces_them(qtbot, viewer, dock, crashed, saved):
    image = np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16)
    crashed(image)
    viewer.add_image(image, name="cells")
    restore(qtbot, dock)
    layer = viewer.layers["cells · corrected"]
    stroke(layer, 40, 60)
    qtbot.waitUntil(lambda: saved()[0].classes[40, 60] == 1, timeout=10_000)
    (kept,) = dock.finetune_part.keeper.kept.values()
    folder = kept.path.parent
    qtbot.waitUntil(
        lambda: [k.path for k in dock.finetune_part.keeper.kept.values()] == list(folder.iterdir()),
        timeout=10_000,
    )
    dock.finetune_part.offer_recovery()
    assert not offer(dock)


def test_what_was_known_stays_all_that_is_known(qtbot, viewer, dock, tiny_store, tiny_model, saved):
    image = np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16)
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:9, 5:9] = 1
    source = Source(image="cells", shape=SHAPE, layer="of before")
    near = correct(
        image[None], labels, kind="classes", trust="margin", predicted=0 * labels, source=source
    )
    CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest)).save(near)
    viewer.add_image(image, name="cells")
    restore(qtbot, dock)
    stroke(viewer.layers["cells · corrected"], 40, 60)
    qtbot.waitUntil(lambda: saved()[0].classes[40, 60] == 1, timeout=10_000)
    (correction,) = saved()
    painted = viewer.layers["cells · corrected"].data != labels
    np.testing.assert_array_equal(correction.known, near.known | painted)


def test_restored_planes_mean_what_they_meant(qtbot, viewer, dock, tiny_store, tiny_model, saved):
    """Scribbles in one plane, classes in another, more of them than the model has."""
    image = np.random.default_rng(0).integers(0, 4000, (2, *SHAPE), np.uint16)
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    for z, kind in enumerate(("scribbles", "classes")):
        labels = 3 * own_mask()
        source = Source(image="cells", shape=image.shape, index=(z,), layer="of before")
        folder.save(correct(image[z][None], labels, kind=kind, source=source))
    before = saved()
    viewer.add_image(image, name="cells")
    restore(qtbot, dock)
    layer = viewer.layers["cells · corrected"]
    for z in (0, 1):
        layer.brush_size = 3
        layer.paint((z, 40, 50), 2)
    qtbot.waitUntil(lambda: all(c.classes[40, 50] > 0 for c in saved()), timeout=10_000)
    after = saved()
    assert [c.file_name for c in after] == [c.file_name for c in before]
    scribbled, classes = after
    assert scribbled.known.sum() == own_mask().sum() + (layer.data[0] == 2).sum()
    assert (scribbled.classes.max(), scribbled.classes[40, 50]) == (2, 1)
    assert classes.known.all()
    assert (classes.classes.max(), classes.classes[40, 50]) == (3, 2)


def test_layers_of_a_dock_before_are_no_masks_of_ones_own(
    qtbot, viewer, dock, open_dock, segmented, child, errors
):
    segmented()
    viewer.window.remove_dock_widget(dock)
    again = open_dock()
    press(qtbot, again)
    (told,) = errors()
    assert "Nothing was corrected" in told


@pytest.fixture
def other_family(tiny_store: Store, make_model: Any) -> str:
    """The name of a model that has nothing to do with "tiny"."""
    other = make_model(name="other", widths=(4, 6))
    save_model(other.network, other.spec, tiny_store.folder / "other.safetensors")
    return "other"


@pytest.mark.parametrize("copied", [True, False])
def test_what_is_painted_in_layers_of_a_dock_before_counts_for_good(
    qtbot, viewer, dock, open_dock, segmented, child, saved, other_family, monkeypatch, copied
):
    if not copied:
        monkeypatch.setattr("napari_unetpp.widgets.baseline.COPIED", 1)
    layer = segmented((3, *SHAPE))
    viewer.window.remove_dock_widget(dock)
    again = open_dock()
    qtbot.wait(50)
    keeper = again.finetune_part.keeper
    mask = keeper.mask_of(layer)
    qtbot.waitUntil(lambda: mask.baseline.is_complete, timeout=10_000)
    stroke(layer, 2, 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    for name in (other_family, "tiny"):
        again.segment_panel.model_box.refresh(name)
        qtbot.wait(50)
    qtbot.waitUntil(lambda: {k.mask for k in keeper.kept.values()} == {keeper.mask_of(layer)})
    layer.undo()
    qtbot.waitUntil(lambda: not saved(), timeout=10_000)
    layer.redo()
    press(qtbot, again)
    (correction,) = child.learnt()
    assert correction.source.index == (2,)
    np.testing.assert_array_equal(correction.classes, layer.data[2])


def test_what_a_script_did_for_one_image_is_not_learnt_with_another(
    qtbot, viewer, dock, open_dock, segmented, child, saved, errors
):
    layer = segmented()
    viewer.window.remove_dock_widget(dock)
    again = open_dock()
    qtbot.wait(50)
    layer.data[10, 12] = 1 - layer.data[10, 12]  # no event tells of this
    pixels = np.random.default_rng(1).integers(0, 4000, SHAPE, np.uint16)
    again.segment_panel.image_box.layer = viewer.add_image(pixels, name="others")
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    assert saved()[0].source.image == "cells"
    press(qtbot, again)
    (told,) = errors()
    assert "Nothing was corrected" in told


def test_a_duplicated_layer_has_corrections_of_its_own(qtbot, viewer, dock, child):
    viewer.add_image(np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16), name="cells")
    first = viewer.add_labels(own_mask(SHAPE), name="mine")
    dock.finetune_part.panel.mask_box.layer = first
    dock.finetune_part.mark_checked()
    second = viewer.add_labels(own_mask(SHAPE), name="copy", metadata=dict(first.metadata))
    dock.finetune_part.panel.mask_box.layer = second
    dock.finetune_part.mark_checked()
    keeper = dock.finetune_part.keeper
    assert keeper.mask_of(first).identity != keeper.mask_of(second).identity


@pytest.mark.parametrize(
    ("name", "shape"), [("others", SHAPE), ("cells", (2, *SHAPE))], ids=["name", "shape"]
)
def test_they_are_not_offered_for_another_image(viewer, dock, crashed, name, shape):
    rng = np.random.default_rng(0)
    crashed(rng.integers(0, 4000, SHAPE, np.uint16))
    viewer.add_image(rng.integers(0, 4000, shape, np.uint16), name=name)
    assert not offer(dock)


def test_another_image_of_the_same_name_is_told_in_one_sentence(
    qtbot, viewer, dock, crashed, errors, saved
):
    rng = np.random.default_rng(0)
    crashed(rng.integers(0, 4000, SHAPE, np.uint16))
    viewer.add_image(rng.integers(0, 4000, SHAPE, np.uint16), name="cells")
    restore(qtbot, dock)
    (error,) = errors()
    assert "another image" in error
    assert len(saved()) == 1


def test_each_image_of_a_name_gets_its_own_corrections_back(
    qtbot, viewer, dock, crashed, tiny_store, tiny_model
):
    rng = np.random.default_rng(0)
    image, later = (rng.integers(0, 4000, (2, *SHAPE), np.uint16) for _ in range(2))
    labels = crashed(image, index=(1,))
    earlier = Source(
        image="cells", shape=image.shape, index=(1,), layer="before that", when="2026-01-02"
    )
    folder = CorrectionFolder(tiny_store.corrections_folder(tiny_model.digest))
    folder.save(correct(image[1][None], 0 * labels, kind="classes", source=earlier))
    crashed(later, index=(1,))
    viewer.add_image(image, name="cells")
    assert "1 corrected plane of this image" in offer(dock)
    restore(qtbot, dock)
    np.testing.assert_array_equal(viewer.layers["cells · corrected"].data[1], labels)
    assert not offer(dock)  # what is left is of the other one


def test_what_was_painted_on_other_pixels_is_not_learnt_with_these(
    qtbot, viewer, dock, segmented, child, saved, errors
):
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: len(saved()) == 1, timeout=10_000)
    (before,) = saved()
    image = dock.segment_panel.image
    image.data = image.data[::-1].copy()
    press(qtbot, dock)
    (told,) = errors()
    assert "Nothing was corrected" in told
    (after,) = saved()
    np.testing.assert_array_equal(after.image, before.image)


def test_what_a_layer_shows_is_not_offered(qtbot, viewer, dock, segmented, saved):
    stroke(segmented(), 10, 12)
    qtbot.waitUntil(lambda: bool(dock.finetune_part.keeper.kept), timeout=10_000)
    second = viewer.add_image(np.zeros((30, 41), np.uint8), name="second")
    box = dock.segment_panel.image_box
    first = dock.segment_panel.image
    box.layer = second
    box.layer = first
    assert not offer(dock)


def test_a_half_written_correction_is_no_obstacle(
    qtbot, viewer, dock, crashed, tiny_store, tiny_model
):
    image = np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16)
    crashed(image)
    folder = tiny_store.corrections_folder(tiny_model.digest)
    (whole,) = folder.iterdir()
    (folder / "0-0.safetensors").write_bytes(whole.read_bytes()[:100])
    viewer.add_image(image, name="cells")
    assert "1 corrected plane" in offer(dock)
