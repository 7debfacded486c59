"""A model from nothing begins a family of its own, and is always kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.size import size_of
from napari_unetpp.inference.devices import Device
from napari_unetpp.models import ModelSpec
from napari_unetpp.models.file import build_network, read_model, save_model
from napari_unetpp.network import Architecture
from napari_unetpp.training.correction_folder import CorrectionFolder, read_correction
from napari_unetpp.training.corrections import Correction, Source, correct
from napari_unetpp.training.finetune import finetune
from napari_unetpp.training.gate import HELD_OUT, describe
from napari_unetpp.training.messages import FinetuneTask
from napari_unetpp.training.options import FINETUNE_FIT, FinetuneOptions
from napari_unetpp.training.validate import Scores, iou_of

SHAPE = (120, 176)
U_NET = Architecture(skip="plain")
CPU = Device("cpu", torch.float32, "CPU, fp32", "for the tests.")


def correction(seed: int, highest: int = 1, known: Any = None) -> Correction:
    """A plane of noise in which bright blocks are the classes."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    labels[::50] = 1
    labels[20:60, 10:150] = 1
    labels[80:100, 10:150] = highest
    image = (800 + 300 * rng.standard_normal(SHAPE) + 2000.0 * labels).clip(0).astype(np.uint16)
    source = Source(image=f"image {seed}", shape=SHAPE, layer="mask")
    made = correct(image[None], labels, kind="classes", source=source)
    return made if known is None else dataclasses.replace(made, known=known)


def trained(model: Any, output: Path, corrections: Any = None, **fields: Any) -> list[Any]:
    fit = dataclasses.replace(FINETUNE_FIT, patch=(32, 48), validations=1)
    earlier = fields.pop("earlier", ())
    how = FinetuneOptions(
        **{"minutes": 60, "steps": 2, "start": "nothing", "name": "mine", **fields}, fit=fit
    )
    corrections = [correction(0)] if corrections is None else corrections
    events = finetune(model, corrections, earlier=earlier, output=output, options=how, device=CPU)
    return list(events)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "new.safetensors"


def test_it_has_no_parent_and_a_family_of_its_own(tiny_model, output):
    events = trained(tiny_model, output, architecture=U_NET, widths=(4, 6), classes=("membrane",))
    made = read_model(output)
    assert (made.spec.name, made.spec.classes, made.spec.heads) == ("mine", ("membrane",), (1,))
    assert made.spec.architecture == U_NET
    assert made.spec.lineage(made.digest) == made.digest != tiny_model.digest
    (entry,) = made.spec.history
    assert (entry.action, entry.parent, entry.parent_name) == ("trained", None, None)
    result = events[-1].result
    assert result.verdict.outcome == "new"
    assert result.verdict.is_kept
    assert set(result.before[HELD_OUT]) == {"L1", "L2", "L3"}  # of the model in use
    assert set(result.after[HELD_OUT]) == {"L1"}


def test_it_is_as_deep_as_its_widths_also_on_a_cpu(tiny_model, output):
    trained(tiny_model, output, widths=(2, 2, 2, 2, 2), heads=(4,))
    assert read_model(output).spec.heads == (4,)


def test_earlier_corrections_are_learnt_and_told_like_new_ones(tiny_model, output):
    new, before = correction(0), correction(1)
    trained(tiny_model, output, [new], earlier=[before])
    made = read_model(output)
    assert set(made.spec.corrections) == {new.file_name, before.file_name}
    assert made.spec.history[0].settings["replayed"] == 0


def test_earlier_corrections_are_enough(tiny_model, output):
    trained(tiny_model, output, [], earlier=[correction(1)])
    assert set(read_model(output).spec.corrections) == {correction(1).file_name}


def test_a_model_of_more_classes_is_not_compared(make_model, output):
    two = make_model(classes=("nucleus", "cell"))
    events = trained(two, output, classes=("membrane",), widths=(4, 6))
    assert events[0].scores is None
    result = events[-1].result
    assert result.before == {}
    assert set(result.after[HELD_OUT]) == {"L1"}
    assert read_model(output).spec.classes == ("membrane",)


def test_painted_classes_without_a_name_get_one(tiny_model, output):
    trained(tiny_model, output, [correction(0, highest=3)], classes=("a",), widths=(4, 6))
    assert read_model(output).spec.classes == ("a", "class 2", "class 3")


def test_too_little_to_hold_out_is_kept_all_the_same(tiny_model, output):
    known = np.zeros(SHAPE, bool)
    known[20:40, 10:30] = True
    events = trained(tiny_model, output, [correction(0, known=known)])
    result = events[-1].result
    assert result.verdict.is_kept
    assert "nothing tells how right mine is" in result.verdict.sentence
    assert output.is_file()


@pytest.mark.parametrize(
    "fields", [{"name": "mine"}, {"heads": (3,)}, {"classes": ("a",)}], ids=str
)
def test_the_weights_of_a_model_make_no_new_one(fields):
    with pytest.raises(UserError, match="start from nothing"):
        FinetuneOptions(**fields)


def test_heads_that_can_not_be_are_refused(tiny_model, output):
    with pytest.raises(UserError, match="just the last column"):
        trained(tiny_model, output, architecture=U_NET, heads=(1, 2, 3))


def test_a_task_carries_all_of_it_as_json(tmp_path):
    task = FinetuneTask(
        model=tmp_path,
        corrections=(),
        output=tmp_path,
        start="nothing",
        heads=(4,),
        classes=("a", "b"),
        name="mine",
        earlier_in=tmp_path,
    )
    assert FinetuneTask.model_validate_json(task.model_dump_json()) == task


# What is said of it


def scores(iou: float) -> Scores:
    true, count = 1200, 24
    overlap = round(true * 2 * iou / (1 + iou))
    cells = np.array([[overlap, true, true, 64 * 64]] * count)
    return Scores(
        {"L2": iou_of(cells)}, {HELD_OUT: {"L2": iou_of(cells)}}, {HELD_OUT: {"L2": cells}}
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0.4, 0.8, "mine has IoU 0.80 with L2 on what is held out, and nuclei 0.40."),
        (0.8, 0.6, "but nuclei 0.80: use that"),
        (None, 0.6, "mine has IoU 0.60 with L2 on what is held out."),
        (0.8, 0.18, "mine learnt too little"),
        (0.8, None, "nothing tells how right mine is"),
    ],
)
def test_it_is_told_how_good_it_is_and_kept(before, after, words):
    was, now = (None if iou is None else scores(iou) for iou in (before, after))
    verdict = describe(was, now, name="mine", other="nuclei")
    assert words in verdict.sentence
    assert verdict.outcome == "new"
    assert verdict.is_kept


# Where it goes


def test_a_name_that_was_taken_meanwhile_gets_a_number(tiny_store, tiny_model, output):
    save_model(tiny_model.network, tiny_model.spec, output)
    kept = [tiny_store.add_new(output, name) for name in ("mine", "MINE", "mine", "x" * 80)]
    assert kept == ["mine", "MINE 2", "mine 3", "x" * 80]
    assert len(tiny_store.add_new(output, "x" * 80)) <= 80
    assert tiny_store.spec("mine 3").name == "mine 3"


def test_a_family_takes_over_what_is_there(tmp_path):
    old, new = CorrectionFolder(tmp_path / "old"), CorrectionFolder(tmp_path / "new")
    path = old.save(correction(0))
    new.take_over([path, tmp_path / "old" / "gone.safetensors"])
    (copy,) = (tmp_path / "new").iterdir()
    assert read_correction(copy).content == correction(0).content
    new.take_over([copy])  # it is there
    assert read_correction(path).content == correction(0).content


# How large it is


@pytest.mark.parametrize(
    ("fields", "gflop"),
    [({"widths": (32, 64, 128, 256, 512)}, 238.0e6 / 512**2), ({"widths": (4, 6)}, None)],
)
def test_counted_without_memory_it_is_as_large_as_it_is(fields, gflop):
    spec = ModelSpec(name="counted", **fields)
    parameters = sum(p.numel() for p in build_network(spec).parameters())
    size = size_of(spec)
    assert size.parameters == parameters
    if gflop is not None:
        assert size.gflop == pytest.approx(gflop, rel=1e-3)  # docs/networks.md: 238.0 at 512²
