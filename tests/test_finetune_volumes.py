"""A model for volumes learns from a few corrected planes."""

import dataclasses

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from napari_unetpp.cli import app
from napari_unetpp.errors import UserError
from napari_unetpp.inference.devices import Device
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.normalise import find_limits, normalise
from napari_unetpp.models.file import read_model, save_model
from napari_unetpp.network import Architecture
from napari_unetpp.training.augment import Augmentation
from napari_unetpp.training.correction_folder import CorrectionFolder
from napari_unetpp.training.corrections import Source, correct
from napari_unetpp.training.finetune import finetune
from napari_unetpp.training.messages import EARLIER, HELD_OUT
from napari_unetpp.training.options import FinetuneOptions, FitOptions
from napari_unetpp.training.slabs import CONTEXT, slab_around
from napari_unetpp.training.study import lessons_of

SHAPE = (24, 72, 120)
CPU = Device("cpu", torch.float32, "CPU, fp32", "for the tests.")
FIT = FitOptions(
    patch=(16, 32, 40),
    batch=2,
    learning_rate=1e-2,
    warm_up=2,
    averaging=0.9,
    validations=3,
    patience=1000,
    augmentation=Augmentation(scale=1.0),
)


def scene(seed, shape=SHAPE):
    """Bright balls in noise, and which voxels they cover."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[tuple(slice(n) for n in shape)]
    mask = np.zeros(shape, bool)
    for _ in range(30):
        centre = [rng.integers(n) for n in shape]
        away = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        mask |= away < rng.integers(5, 10)
    image = 800.0 + 2000 * mask + 300 * rng.standard_normal(shape)
    return np.clip(image, 0, 65535).astype(np.uint16), mask


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(dims=3, widths=(4, 6, 8))


def corrected(model, planes, *, seed=0, shape=SHAPE, voxel_size=None):
    image, mask = scene(seed, shape)
    layout = Layout.of(image, "ZYX", dims=3)
    return [
        correct(
            image[z][None],
            mask[z].astype(np.uint8),
            kind="classes",
            source=Source(image=f"volume {seed}", shape=shape, index=(z,), layer="mask"),
            slab=slab_around(image, layout, (z,), model.spec, voxel_size=voxel_size),
        )
        for z in planes
    ]


def lesson_of(model, corrections):
    (lesson,), _ = lessons_of(corrections, model.spec, [HELD_OUT] * len(corrections))
    return lesson


def test_two_planes_of_a_volume_make_a_better_model(model, tmp_path):
    options = FinetuneOptions(minutes=60, steps=40, fit=FIT)
    events = list(
        finetune(
            model,
            corrected(model, (6, 17)),
            output=tmp_path / "new.safetensors",
            options=options,
            device=CPU,
        )
    )
    (*_, result) = (event.result for event in events if event.result is not None)
    assert result.verdict.outcome == "better"
    new = read_model(tmp_path / "new.safetensors")
    assert new.spec.dims == 3
    assert new.spec.history[-1].corrections == tuple(c.file_name for c in corrected(model, (6, 17)))


def test_a_new_model_for_volumes_learns_from_planes_of_them(make_model, tmp_path):
    model = make_model(dims=3, widths=(4, 6, 8), voxel_size=(0.5, 0.5, 0.5))
    options = FinetuneOptions(
        minutes=60,
        steps=2,
        fit=FIT,
        start="nothing",
        name="mine",
        architecture=Architecture(skip="plain", up="nearest"),
        widths=(4, 6),
    )
    output = tmp_path / "new.safetensors"
    planes = corrected(model, (6, 17))
    *_, last = finetune(model, planes, output=output, options=options, device=CPU)
    assert last.result.verdict.outcome == "new"
    spec = read_model(output).spec
    assert (spec.dims, spec.voxel_size, spec.heads) == (3, (0.5, 0.5, 0.5), (1,))
    assert set(spec.corrections) == {plane.file_name for plane in planes}


def test_just_the_corrected_planes_are_learnt_and_the_rest_is_seen(model):
    image, mask = scene(0)
    lesson = lesson_of(model, corrected(model, (6, 17)))
    sample = lesson.learnt
    assert sample.image.shape == (1, *SHAPE)
    limits = find_limits(image, model.spec.normalisation)
    np.testing.assert_allclose(sample.image[0], normalise(image, limits), atol=0.02)
    assert set(np.unique(np.nonzero(sample.weight[0])[0])) == {6, 17}
    known = sample.weight[0] > 0
    np.testing.assert_array_equal(sample.mask[0][known], mask[known])
    # no spot is learnt and scored
    whole = known.sum()
    for held_out in lesson.held_out:
        whole += np.count_nonzero(held_out.weight)
        assert held_out.image.shape[1] == SHAPE[0]
    assert whole < 2 * SHAPE[1] * SHAPE[2]
    assert lesson.held_out


def test_planes_far_apart_are_pieces_of_their_own(model):
    shape = (3 * CONTEXT, 40, 60)
    near_and_far = corrected(model, (2, 10, 3 * CONTEXT - 3), shape=shape)
    lessons, _ = lessons_of(near_and_far, model.spec, [HELD_OUT] * 3)
    depths = [lesson.learnt.image.shape[1] for lesson in lessons]
    assert depths == [10 + CONTEXT + 1, CONTEXT + 3]
    both, _ = lessons_of(near_and_far, model.spec, [HELD_OUT, EARLIER, HELD_OUT])
    assert [lesson.kind for lesson in both].count(EARLIER) == 1


def test_masks_come_to_the_voxels_of_the_model(make_model):
    model = make_model(dims=3, widths=(4, 6), voxel_size=(0.5, 0.5, 0.5))
    _, mask = scene(0)
    size = (1.5, 0.5, 0.25)
    sample = lesson_of(model, corrected(model, (6,), voxel_size=size)).learnt
    above = -(-CONTEXT // 3)
    assert sample.image.shape == (1, 3 * (min(6, above) + above + 1), SHAPE[1], SHAPE[2] // 2)
    assert set(np.nonzero(sample.weight[0])[0]) == {6 * 3 + 1}  # the middle one of its three
    np.testing.assert_array_equal(sample.mask[0, 6 * 3 + 1], mask[6][:, 1::2])


def test_slabs_are_kept_with_their_corrections(model, tmp_path):
    (correction,) = corrected(model, (6,), voxel_size=(2.0, 0.5, 0.5))
    folder = CorrectionFolder(tmp_path)
    folder.save(correction)
    (kept,), problems = folder.load()
    assert not problems
    assert kept.file_name == correction.file_name
    for part in ("image", "intensities"):
        np.testing.assert_array_equal(getattr(kept.slab, part), getattr(correction.slab, part))
    assert kept.slab.volume == correction.slab.volume
    assert (kept.slab.start, kept.slab.place) == (correction.slab.start, correction.slab.place)
    assert kept.slab.voxel_size == (2.0, 0.5, 0.5)


def test_planes_alone_are_refused(model, tmp_path):
    flat = [dataclasses.replace(c, slab=None) for c in corrected(model, (6,))]
    with pytest.raises(UserError, match="of a plane alone, and the model is for volumes"):
        finetune(model, flat, output=tmp_path / "new.safetensors", device=CPU)


def test_planes_too_large_for_a_slab_are_refused(model):
    image = np.broadcast_to(np.uint16(0), (200, 9000, 8000))
    with pytest.raises(UserError, match="which is too much: crop the image"):
        slab_around(image, Layout.of(image, "ZYX", dims=3), (100,), model.spec)


def test_the_command_line_learns_from_the_planes_with_labels(
    tiny_store, make_model, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_unetpp.training.options.FINETUNE_FIT", FIT)
    model = make_model(dims=3, widths=(4, 6, 8), voxel_size=(1.0, 0.5, 0.5))
    spec = model.spec.model_copy(update={"name": "tiny3d"})
    save_model(model.network, spec, tiny_store.folder / "tiny3d.safetensors")
    image, mask = scene(0)
    labels = np.zeros(SHAPE, np.uint8)
    labels[[6, 17]] = mask[[6, 17]]
    for name, pixels in (("image", image), ("labels", labels)):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            pixels,
            imagej=True,
            resolution=(2, 2),
            metadata={"axes": "ZYX", "spacing": 1.0, "unit": "um"},
        )
    arguments = ["finetune", "tiny3d", tmp_path / "image.tif", tmp_path / "labels.tif"]
    arguments += ["--steps", 40, "--minutes", 60, "--device", "cpu"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "Learning from 2 planes." in result.stderr
    folder = tiny_store.corrections_folder(tiny_store.lineage("tiny3d"))
    kept, _ = CorrectionFolder(folder).load()
    assert sorted(c.source.index for c in kept) == [(6,), (17,)]
    assert {c.slab.voxel_size for c in kept} == {(1.0, 0.5, 0.5)}
    assert tiny_store.spec("tiny3d+1").dims == 3
