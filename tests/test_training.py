"""Training learns, keeps the best, and goes on after a stop as if there had been none."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_unetpp.errors import UserError
from napari_unetpp.inference.devices import Device, choose_device, prepared
from napari_unetpp.models import ModelSpec
from napari_unetpp.models.file import read_model
from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.training import fit as fit_module
from napari_unetpp.training.augment import Augmentation, draw_patch
from napari_unetpp.training.fit import Fit
from napari_unetpp.training.loss import deep_supervision_loss, supervised_loss
from napari_unetpp.training.options import FitOptions
from napari_unetpp.training.run import TrainingData, train_model
from napari_unetpp.training.samples import Sample, draw_probabilities, load_samples
from napari_unetpp.training.study import cut_out
from napari_unetpp.training.validate import Scores, validate

CPU = Device("cpu", torch.float32, "CPU, fp32", "for the tests.")
WIDTHS = (4, 8, 8)
UNLIT = Augmentation(gamma=1, contrast=0, brightness=0, noise=0, blur=0, shading=0)
TINY = FitOptions(
    steps=12,
    patch=(24, 32),
    batch=2,
    warm_up=2,
    validate_every=4,
    augmentation=UNLIT,
    averaging=0.9,
)


def discs(seed: int, shape=(56, 72)) -> tuple[np.ndarray, np.ndarray]:
    """Bright, noisy discs on a dark ground, and which pixels they cover."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(6):
        mask |= np.hypot(y - rng.integers(shape[0]), x - rng.integers(shape[1])) < rng.integers(
            4, 9
        )
    image = np.clip(0.15 + 0.5 * mask + 0.12 * rng.standard_normal(shape), 0, 1)
    return image.astype(np.float32), mask


def sample(seed: int, kind: str = "grey", shape=(56, 72)) -> Sample:
    image, mask = discs(seed, shape)
    return Sample(image[None], mask[None].astype(np.uint8), np.ones((1, *shape), np.float32), kind)


def network(**arguments) -> UNetPlusPlus:
    torch.manual_seed(0)
    return UNetPlusPlus(**{"widths": WIDTHS, "norm": "batch", **arguments})


def fit(options=TINY, checkpoint=None, validation=True, **arguments) -> Fit:
    held_out = [sample(9)] if validation else []
    samples = [sample(n) for n in range(3)]
    return Fit(network(**arguments), samples, held_out, options, CPU, checkpoint=checkpoint)


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    torch.testing.assert_close(
        dict(one.state_dict()), dict(other.state_dict()), rtol=0, atol=0, equal_nan=True
    )


def test_the_loss_is_that_of_the_paper():
    logits = torch.tensor([0.3, -1.2, 2.0, 0.0]).reshape(1, 1, 2, 2)
    target = torch.tensor([1.0, 0, 1, 1]).reshape(1, 1, 2, 2)
    weight = torch.tensor([1.0, 1, 0.5, 0]).reshape(1, 1, 2, 2)
    p = [1 / (1 + math.exp(-x)) for x in (0.3, -1.2, 2.0)]
    entropy = -(math.log(p[0]) + math.log(1 - p[1]) + 0.5 * math.log(p[2])) / 2.5
    overlap = p[0] + 0.5 * p[2]
    total = p[0] + 1 + p[1] + 0.5 * (p[2] + 1)
    wanted = 0.5 * entropy - (2 * overlap + 1) / (total + 1)
    assert float(supervised_loss(logits, target, weight)) == pytest.approx(wanted, rel=1e-5)


def test_the_loss_of_a_right_answer_is_the_lowest():
    target = torch.randint(0, 2, (2, 3, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    weight = torch.ones(2, 1, 5, 7)
    assert float(supervised_loss(40 * (2 * target - 1), target, weight)) == pytest.approx(-1)


def test_heads_are_weighted():
    rng = torch.Generator().manual_seed(0)
    heads = [torch.randn(2, 1, 5, 7, generator=rng) for _ in range(3)]
    target = torch.randint(0, 2, (2, 1, 5, 7), generator=rng).float()
    weight = torch.ones(2, 1, 5, 7)
    losses = [float(supervised_loss(logits, target, weight)) for logits in heads]
    equal = float(deep_supervision_loss(heads, target, weight, (1, 1, 1)))
    assert equal == pytest.approx(np.mean(losses))
    weighted = float(deep_supervision_loss(heads, target, weight, (0, 1, 3)))
    assert weighted == pytest.approx(np.average(losses, weights=(0, 1, 3)))


@given(st.integers(0, 2**31))
def test_unlabelled_pixels_have_no_influence(seed):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 5, 7, generator=rng, requires_grad=True)
    target = torch.randint(0, 2, (2, 3, 5, 7), generator=rng).float()
    weight = torch.randint(0, 2, (2, 1, 5, 7), generator=rng).float()
    loss = supervised_loss(logits, target, weight)
    loss.backward()
    unknown = (weight == 0).expand_as(logits)
    assert not logits.grad[unknown].any()
    assert logits.grad[~unknown].all()
    other = torch.where(unknown, 1 - target, target)
    torch.testing.assert_close(supervised_loss(logits, other, weight), loss, rtol=0, atol=0)


def test_nothing_labelled_is_no_accident():
    logits = torch.randn(1, 1, 4, 6, requires_grad=True)
    loss = supervised_loss(logits, torch.ones(1, 1, 4, 6), torch.zeros(1, 1, 4, 6))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert not logits.grad.any()


def test_training_learns():
    options = dataclasses.replace(
        TINY, steps=60, batch=4, learning_rate=1e-2, warm_up=5, validate_every=20, patch=(32, 48)
    )
    run = fit(options)
    before = validate(prepared(run.best, CPU), [sample(9)], CPU)
    events = list(run.run())
    losses = [event.loss for event in events]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.3
    after = validate(prepared(run.best, CPU), [sample(9)], CPU)
    assert after.mean == run.best_scores.mean
    for head, iou in after.heads.items():
        assert iou > max(0.75, before.heads[head] + 0.2)


def test_events_count_the_steps():
    events = list(fit().run())
    assert [event.step for event in events] == list(range(1, 13))
    assert {event.steps for event in events} == {12}
    assert [event.step for event in events if event.scores] == [4, 8, 12]
    assert next(event for event in events if event.scores).is_best
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("after", [2, 6])
@pytest.mark.parametrize("validation", [True, False])
def test_a_resumed_run_is_the_same_as_one_in_one_piece(tmp_path, killed, after, validation):
    whole = fit(validation=validation)
    wanted = [event.loss for event in whole.run()]

    path = tmp_path / "checkpoint.safetensors"
    first = fit(checkpoint=path, validation=validation)
    losses = []
    for event in first.run(lambda: not killed and len(losses) == after):
        losses.append(event.loss)
        if killed and len(losses) == after:
            break
    second = fit(checkpoint=path, validation=validation)
    rest = list(second.run())
    if not killed:  # a stop keeps every step, a kill those up to the last checkpoint
        assert len(losses) + len(rest) == 12
    np.testing.assert_array_equal(wanted[-len(rest) :], [event.loss for event in rest])
    assert_same(second.network, whole.network)
    assert_same(second.best, whole.best)
    assert second.best_scores == whole.best_scores


def test_the_seed_decides():
    runs = [fit(dataclasses.replace(TINY, steps=2, seed=seed)) for seed in (1, 1, 2)]
    losses = [[event.loss for event in run.run()] for run in runs]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="it can't be seen here")
def test_a_training_that_goes_on_does_not_hold_its_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    list(fit(checkpoint=path).run())
    going_on = fit(checkpoint=path)  # Windows could neither replace nor remove it
    assert path.exists()
    assert str(path) not in Path("/proc/self/maps").read_text()
    del going_on


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    list(fit(checkpoint=path).run())
    with pytest.raises(UserError, match="Remove it to start anew"):
        fit(checkpoint=path, widths=(4, 8))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="Remove it to start anew"):
        fit(checkpoint=path)


def test_training_ends_when_it_gets_no_better():
    options = dataclasses.replace(TINY, steps=400, learning_rate=0.0, patience=2)
    events = list(fit(options, norm=None).run())
    assert len(events) == 3 * TINY.validate_every
    assert [event.is_best for event in events if event.scores] == [True, False, False]


def test_the_best_is_kept_and_not_the_last(monkeypatch):
    figures = iter([0.5, 0.9, 0.7])
    monkeypatch.setattr(
        "napari_unetpp.training.fit.validate", lambda *_: Scores({"L1": next(figures)}, {})
    )
    run = fit()
    at_best = None
    for event in run.run():
        if event.is_best:
            at_best = run.best
    assert run.best_scores.mean == 0.9
    assert_same(run.best, at_best)
    with pytest.raises(AssertionError):
        assert_same(run.best, run.averaged.module)


def test_without_validation_the_last_is_the_best():
    run = fit(validation=False)
    assert all(event.scores is None for event in run.run())
    assert_same(run.best, run.averaged.module)


def test_time_is_a_limit_too():
    events = list(fit(dataclasses.replace(TINY, minutes=1e-9)).run())
    assert len(events) == 1
    assert events[0].scores is not None


def test_validations_take_a_tenth_of_a_limited_time(monkeypatch):
    now = [0.0]

    def taking(seconds, function):
        def timed(*arguments, **named):
            now[0] += seconds
            return function(*arguments, **named)

        return timed

    monkeypatch.setattr(fit_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        fit_module, "deep_supervision_loss", taking(1, fit_module.deep_supervision_loss)
    )
    options = dataclasses.replace(TINY, steps=10_000, minutes=10, validations=12)
    for seconds, most in ((30, 3), (0.1, 12)):
        monkeypatch.setattr(fit_module, "validate", taking(seconds, validate))
        now[0] = 0.0
        events = list(fit(options).run())
        validations = [event.seconds for event in events if event.scores is not None]
        assert len(validations) <= most
        assert validations[-1] == events[-1].seconds
        assert len(validations) >= most - 1


def test_stop_is_asked_before_each_step():
    assert not list(fit().run(lambda: True))


def test_a_rate_that_does_not_fall_moves_the_weights_to_the_end():
    """Late steps are as long as early ones then; by default they come to rest."""

    def last_move(rate: float) -> float:
        run = fit(dataclasses.replace(TINY, last_rate=rate, steps=12, averaging=0.0))
        seen = []
        for _ in run.run():
            seen.append(torch.cat([p.detach().flatten() for p in run.network.parameters()]))
        return float((seen[-1] - seen[-2]).norm())

    assert last_move(1.0) > 5 * last_move(0.0)


def test_no_warm_up_is_possible():
    assert len(list(fit(dataclasses.replace(TINY, warm_up=0, steps=1)).run())) == 1


@pytest.mark.skipif(choose_device("cpu").dtype == torch.float32, reason="no bf16 on this CPU")
def test_training_in_bf16_learns_as_well():
    options = dataclasses.replace(TINY, steps=6)
    samples = [sample(n) for n in range(3)]
    runs = [
        Fit(network(), samples, samples, options, device) for device in (CPU, choose_device("cpu"))
    ]
    losses = [[event.loss for event in run.run()] for run in runs]
    np.testing.assert_allclose(losses[0], losses[1], atol=0.05)
    assert {p.dtype for p in runs[1].best.parameters()} == {torch.float32}


def test_nothing_to_train_on_is_refused():
    with pytest.raises(UserError, match="at least one image"):
        Fit(network(), [], [], TINY, CPU)


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 1000),
)
def test_a_patch_can_be_drawn_from_any_sample(shape, size, seed):
    image = np.random.default_rng(seed).random((2, *shape), np.float32)
    mask = (image > 0.5).astype(np.uint8)
    drawn = [
        draw_patch(
            Sample(image, mask, np.ones((1, *shape), np.float32), "grey"),
            size,
            Augmentation(),
            np.random.default_rng(seed),
        )
        for _ in range(2)
    ]
    patch = drawn[0]
    assert patch.image.shape == patch.mask.shape == (2, *size)
    assert patch.weight.shape == (1, *size)
    assert {patch.image.dtype, patch.mask.dtype, patch.weight.dtype} == {np.dtype(np.float32)}
    assert patch.image.min() >= 0
    assert patch.image.max() <= 1
    assert set(np.unique(patch.mask)) <= {0, 1}
    np.testing.assert_array_equal(patch.image, drawn[1].image)


@given(st.integers(0, 1000))
def test_image_mask_and_weight_move_together(seed):
    _, mask = discs(seed)
    moved = Sample(
        mask[None].astype(np.float32), mask[None].astype(np.uint8), ~mask[None] * 1.0, ""
    )
    patch = draw_patch(moved, (40, 48), UNLIT, np.random.default_rng(seed))
    np.testing.assert_array_equal(patch.weight, 1 - patch.mask)
    sure = abs(patch.image - 0.5) > 0.49  # a pixel on an edge may be either
    np.testing.assert_array_equal(patch.image[sure] > 0.5, patch.mask[sure] > 0)
    assert sure.mean() > 0.6


def test_rare_kinds_are_drawn_more_often_than_they_come():
    samples = [sample(n, "common") for n in range(9)] + [sample(9, "rare")]
    p = draw_probabilities(samples)
    assert p.sum() == pytest.approx(1)
    assert 1 / 10 < p[9] < 1 / 2
    assert len(set(p[:9])) == 1


def test_validation_counts_known_pixels_only():
    whole = sample(1)
    half = np.zeros_like(whole.weight)
    half[..., :36] = 1
    part = Sample(whole.image, whole.mask, half, "part")
    cut = Sample(whole.image[..., :36], whole.mask[..., :36], half[..., :36], "cut")
    plain = network(widths=(4,) * 2).eval()
    scores = validate(plain, [part], CPU)
    assert scores.heads["L1"] == pytest.approx(validate(plain, [cut], CPU).heads["L1"], abs=0.1)
    assert scores.kinds.keys() == {"part"}
    nothing = Sample(whole.image, whole.mask, np.zeros_like(half), "nothing")
    assert validate(plain, [nothing], CPU).heads["L1"] == 1


def test_places_are_the_same_however_much_is_cut_out_around_them():
    whole = sample(1, shape=(200, 232))
    whole.weight[:, :70] = whole.weight[:, 141:] = 0
    plain = network(widths=(4,) * 2).eval()
    wide, narrow = (validate(plain, [cut_out(whole, context)], CPU) for context in (64, 12))
    one, other = (scores.cells["grey"]["L1"] for scores in (wide, narrow))
    np.testing.assert_array_equal(one[:, 2:], other[:, 2:])  # the truth, and what is known
    assert len(one) == 2 * 4


def write(folder, images: dict[str, np.ndarray], **tags) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        tifffile.imwrite(folder / f"{name}.tif", image, **tags)


@pytest.fixture
def data(tmp_path) -> TrainingData:
    pairs = {f"{n}": discs(n) for n in range(4)}
    write(
        tmp_path / "images", {k: (255 * image).astype(np.uint8) for k, (image, _) in pairs.items()}
    )
    write(tmp_path / "labels", {k: mask.astype(np.uint16) for k, (_, mask) in pairs.items()})
    return TrainingData(images=tmp_path / "images", labels=tmp_path / "labels")


SPEC = ModelSpec(name="discs", widths=WIDTHS)


def train(data, path, options=TINY, spec=SPEC, **arguments):
    return list(train_model(data, spec, options, device=CPU, output=path, **arguments))


def test_a_tenth_is_held_out_and_never_trained_on(data):
    train_samples, validation = data.load(SPEC, seed=0)
    assert (len(train_samples), len(validation)) == (3, 1)
    assert not any(np.array_equal(validation[0].image, s.image) for s in train_samples)


def test_folders_become_a_model(data, tmp_path):
    path = tmp_path / "out" / "discs.safetensors"
    events = train(data, path)
    model = read_model(path)
    entry = model.spec.history[-1]
    best = max(event.scores.mean for event in events if event.scores)
    assert np.mean(list(entry.scores["heads"].values())) == pytest.approx(best)
    assert entry.action == "trained"
    assert entry.settings["steps"] == 12
    assert entry.settings["device"] == "CPU, fp32"
    assert "torch" in entry.software
    assert str(tmp_path) not in model.spec.model_dump_json()
    lines = [json.loads(line) for line in path.with_suffix(".log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert not path.with_suffix(".checkpoint.safetensors").exists()


def test_a_finished_model_is_kept(data, tmp_path):
    path = tmp_path / "discs.safetensors"
    train(data, path)
    with pytest.raises(UserError, match="exists and is kept"):
        train(data, path)
    digest = read_model(path).digest
    train(data, path, dataclasses.replace(TINY, seed=1), force=True)
    assert read_model(path).digest != digest


@pytest.mark.parametrize("images", [1, 4])
def test_a_stopped_training_keeps_a_model_and_goes_on(data, tmp_path, images):
    for n in range(images, 4):
        (data.images / f"{n}.tif").unlink()
    path = tmp_path / "discs.safetensors"
    asked = iter([False] * 6 + [True] * 9)
    assert len(train(data, path, stop=lambda: next(asked))) == 6
    read_model(path)
    assert [event.step for event in train(data, path)] == [7, 8, 9, 10, 11, 12]
    in_one_piece = tmp_path / "whole.safetensors"
    train(data, in_one_piece)
    assert_same(read_model(path).network, read_model(in_one_piece).network)


def test_a_kill_between_checkpoint_and_model_loses_nothing(data, tmp_path, monkeypatch):
    path = tmp_path / "discs.safetensors"
    figures = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(
        "napari_unetpp.training.fit.validate", lambda *_: Scores({"L1": next(figures)}, {})
    )
    with monkeypatch.context() as patch:
        patch.setattr("napari_unetpp.training.run.save_model", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(data, path)
    assert not path.exists()
    train(data, path)
    assert read_model(path).spec.history[-1].scores["heads"] == {"L1": 0.9}


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_images_without_labels_are_refused(data, tmp_path):
    (data.labels / "2.tif").unlink()
    with pytest.raises(UserError, match=r"1 of 4 images have no labels .* the first is 2\.tif"):
        train(data, tmp_path / "m.safetensors")


def test_labels_of_another_shape_are_refused(data, tmp_path):
    tifffile.imwrite(data.labels / "2.tif", np.zeros((72, 56), np.uint8))
    with pytest.raises(UserError, match=r"2\.tif has shape \(72, 56\).*\(56, 72\)"):
        train(data, tmp_path / "m.safetensors")


def test_one_validation_folder_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="give both folders or neither"):
        train(dataclasses.replace(data, validation_images=data.images), tmp_path / "m.safetensors")


def test_several_channels_and_classes(tmp_path):
    image, mask = discs(0)
    channels = np.stack([image, 1 - image]).astype(np.float32)
    labels = (mask * np.where(np.arange(72) < 36, 1, 2)).astype(np.uint8)
    write(tmp_path / "images", {"a": channels}, metadata={"axes": "CYX"})
    write(tmp_path / "labels", {"a": labels})
    data = TrainingData(images=tmp_path / "images", labels=tmp_path / "labels")
    spec = ModelSpec(name="two", widths=WIDTHS, in_channels=2, classes=("left", "right"))
    (one,), held_out = data.load(spec, seed=0)
    assert not held_out
    np.testing.assert_array_equal(one.mask, [labels == 1, labels == 2])
    assert one.image.shape == (2, 56, 72)
    train(data, tmp_path / "two.safetensors", spec=spec)
    model = read_model(tmp_path / "two.safetensors")
    assert model.spec.classes == ("left", "right")
    assert model.network.in_channels == model.network.classes == 2


def test_every_plane_of_a_stack_is_a_sample(tmp_path):
    pairs = [discs(n) for n in range(3)]
    stack = np.stack([image for image, _ in pairs])
    write(tmp_path / "i", {"a": stack}, metadata={"axes": "ZYX"}, photometric="minisblack")
    write(tmp_path / "l", {"a": np.stack([m for _, m in pairs]) * 1.0}, photometric="minisblack")
    samples = load_samples([(tmp_path / "i" / "a.tif", tmp_path / "l" / "a.tif")], SPEC)
    assert len(samples) == 3
    for one, (_, mask) in zip(samples, pairs, strict=True):
        np.testing.assert_array_equal(one.mask[0], mask)


def test_labels_follow_the_axes_of_their_image(tmp_path):
    image, mask = discs(0, shape=(48, 48))  # square, so that the shape tells nothing
    write(tmp_path / "i", {"a": image.T}, metadata={"axes": "XY"})
    write(tmp_path / "l", {"a": mask.T.astype(np.uint8)}, metadata={"axes": "XY"})
    (one,) = load_samples([(tmp_path / "i" / "a.tif", tmp_path / "l" / "a.tif")], SPEC)
    np.testing.assert_array_equal(one.mask[0], mask)
    assert one.image[0][mask].mean() > one.image[0][~mask].mean() + 0.3


def test_colour_gives_more_greys_of_the_same_labels(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (20, 31, 3), np.uint8)
    write(tmp_path / "i", {"a": rgb}, photometric="rgb")
    write(tmp_path / "l", {"a": rgb[..., 0] // 128})
    pair = (tmp_path / "i" / "a.tif", tmp_path / "l" / "a.tif")
    samples = load_samples([pair], SPEC, stains=2)
    assert len(samples) == 3
    assert all(np.array_equal(s.mask, samples[0].mask) for s in samples)
    assert not np.array_equal(samples[0].image, samples[1].image)
    assert samples[0].kind.startswith("colour")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": -1},
        {"minutes": 0.0},
        {"patch": (0, 32)},
        {"averaging": 1.0},
        {"last_rate": 1.5},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        FitOptions(**wrong)
