"""Fine-tuning gives a better model on held-out places, and a file that tells how it was made."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from images import discs

from napari_unetpp.errors import UserError
from napari_unetpp.inference.devices import Device
from napari_unetpp.models.file import read_model
from napari_unetpp.training import study
from napari_unetpp.training.augment import Augmentation, draw_patch
from napari_unetpp.training.corrections import Correction, Source, correct
from napari_unetpp.training.finetune import finetune
from napari_unetpp.training.finetuning import SMALLEST_PATCH
from napari_unetpp.training.fit import Fit
from napari_unetpp.training.gate import EARLIER, HELD_OUT
from napari_unetpp.training.gentle import halfway, is_as_good, rate_for
from napari_unetpp.training.options import FinetuneOptions, FitOptions
from napari_unetpp.training.samples import Sample
from napari_unetpp.training.start import depth_on_cpu
from napari_unetpp.training.study import check_corrections

CPU = Device("cpu", torch.float32, "CPU, fp32", "for the tests.")
SHAPE = (120, 176)
FIT = FitOptions(
    patch=(48, 64),
    batch=4,
    learning_rate=1e-2,
    warm_up=2,
    averaging=0.9,
    validations=3,
    patience=1000,
    augmentation=Augmentation(scale=1.0),
)


def correction(seed: int, *, classes=None, known=None, shape=SHAPE, name=None) -> Correction:
    """A plane corrected all over; `classes` are made of its mask."""
    image, mask = discs(shape, seed)
    labels = mask.astype(np.uint8) if classes is None else classes(mask)
    source = Source(image=name or f"image {seed}", shape=shape, layer="mask")
    made = correct(image[None], labels, kind="classes", source=source)
    return made if known is None else dataclasses.replace(made, known=known)


def options(steps=24, **arguments) -> FinetuneOptions:
    fit = dataclasses.replace(FIT, **arguments.pop("fit", {}))
    arguments = {"minutes": 60, "steps": steps, "depth": 3} | arguments
    return FinetuneOptions(fit=fit, **arguments)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "versions" / "candidate.safetensors"


def run(model, corrections, output, how=None, **arguments):
    """All events; the last result among them is what counts."""
    how = how or options()
    return list(finetune(model, corrections, output=output, options=how, device=CPU, **arguments))


def result_of(events):
    return [event.result for event in events if event.result is not None][-1]


@pytest.fixture(scope="module")
def tuned(tiny_model, tmp_path_factory):
    """A tiny model fine-tuned on two images, with one of earlier: its events and its file."""
    output = tmp_path_factory.mktemp("tuned") / "candidate.safetensors"
    before = {k: v.clone() for k, v in tiny_model.network.state_dict().items()}
    events = run(tiny_model, [correction(0), correction(1)], output, earlier=[correction(2)])
    torch.testing.assert_close(dict(tiny_model.network.state_dict()), before, rtol=0, atol=0)
    return events, output


def test_it_gets_better_where_it_has_not_learnt(tuned):
    events, _ = tuned
    result = result_of(events)
    assert result.verdict.outcome == "better"
    assert max(result.after[HELD_OUT].values()) > max(result.before[HELD_OUT].values()) + 0.3
    assert result.verdict.after == max(result.after[HELD_OUT].values())
    losses = [event.loss for event in events if event.loss is not None]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1


def test_events_tell_how_far_it_is(tuned):
    events, _ = tuned
    first, *rest = events
    assert (first.step, first.fraction, first.loss, first.result) == (0, 0, None, None)
    assert first.scores.keys() == {HELD_OUT, EARLIER}
    assert [event.step for event in rest] == list(range(1, 25))
    assert [event.step for event in rest if event.scores] == [8, 16, 24]
    assert rest[-1].fraction == 1
    assert {event.device for event in events} == {"CPU, fp32"}
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert all(event.scores is not None for event in rest if event.result is not None)


def test_the_version_says_where_it_comes_from(tuned, tiny_model):
    events, output = tuned
    result = result_of(events)
    model = read_model(output)
    (entry,) = model.spec.history
    assert entry.action == "fine-tuned"
    assert entry.parent == tiny_model.digest
    assert entry.parent_name == model.spec.parent_name == "tiny"
    assert (
        model.spec.lineage(model.digest)
        == tiny_model.digest
        == tiny_model.spec.lineage(tiny_model.digest)
    )
    assert entry.scores["heads"] == pytest.approx(result.after[HELD_OUT])
    assert entry.scores["before"] == result.before
    assert entry.scores["after"] == result.after
    assert entry.scores["verdict"] == result.verdict.sentence
    assert entry.settings["steps"] == 24
    assert entry.settings["trained_steps"] == result.steps
    assert entry.settings["device"] == "CPU, fp32"
    assert entry.settings["fit"]["learning_rate"] == FIT.learning_rate
    assert entry.corrections == (correction(0).file_name, correction(1).file_name)
    assert entry.settings["replayed"] == 1
    assert "torch" in entry.software
    assert str(output.parent) not in model.spec.model_dump_json()
    assert not list(output.parent.glob(".*"))


def test_a_version_of_a_version_is_of_the_same_family(tuned, tiny_model, output):
    _, parent_file = tuned
    parent = read_model(parent_file)
    for start in ("model", "nothing"):
        run(parent, [correction(3)], output, options(1, start=start))
        child = read_model(output)
        assert len(child.spec.history) == 2
        assert child.spec.history[-1].parent == parent.digest
        assert child.spec.lineage(child.digest) == tiny_model.digest


def test_earlier_corrections_are_scored_and_learnt_again(tiny_model, output, monkeypatch):
    drawn = []

    def watch(sample: Sample, *arguments):
        drawn.append(sample.kind)
        return draw_patch(sample, *arguments)

    monkeypatch.setattr("napari_unetpp.training.fit.draw_patch", watch)
    events = run(
        tiny_model, [correction(0)], output, options(30, replay=0.4), earlier=[correction(1)]
    )
    assert drawn.count(EARLIER) / len(drawn) == pytest.approx(0.4, abs=0.12)
    result = result_of(events)
    assert result.before[EARLIER].keys() == result.after[EARLIER].keys() == {"L1", "L2", "L3"}


def test_nothing_is_learnt_where_it_is_scored(tiny_model, output, monkeypatch):
    fits = []

    class Watched(Fit):
        def __init__(self, network, train, validation, *arguments, **more):
            fits.append((train, validation))
            super().__init__(network, train, validation, *arguments, **more)

    monkeypatch.setattr("napari_unetpp.training.finetuning.Fit", Watched)
    stack = [correction(n, name="stack") for n in range(2)]
    run(tiny_model, stack[:1], output, options(1), earlier=stack[1:])
    ((train, validation),) = fits
    assert {sample.kind for sample in train} == {HELD_OUT, EARLIER}
    strips = [sample.weight[0] == 0 for sample in train]
    np.testing.assert_array_equal(*strips)  # the planes of a stack are held out in one place
    for sample in validation:
        assert sample.weight.any(axis=1).sum() < strips[0].any(axis=0).sum()


@pytest.mark.parametrize("depth", [1, 2])
def test_the_depth_can_be_cut(tiny_model, output, depth):
    events = run(tiny_model, [correction(0)], output, options(4, depth=depth))
    model = read_model(output)
    assert model.spec.depth == depth
    heads = [f"L{k}" for k in range(1, depth + 1)]
    assert list(result_of(events).after[HELD_OUT]) == heads
    assert list(result_of(events).before[HELD_OUT]) == ["L1", "L2", "L3"]  # the whole old model


@pytest.mark.parametrize(
    ("before", "depth"),
    [
        ({"held out": {"L1": 0.39, "L2": 0.32, "L3": 0.32, "L4": 0.31}}, 2),
        ({"held out": {"L1": 0.465, "L2": 0.480, "L3": 0.481, "L4": 0.482}}, 2),
        ({"held out": {"L1": 0.765, "L2": 0.780, "L3": 0.781, "L4": 0.782}}, 3),
        ({"held out": {"L1": 0.70, "L2": 0.84, "L3": 0.87, "L4": 0.88}}, 3),
        (
            {
                "held out": {"L1": 0.39, "L2": 0.32, "L3": 0.32, "L4": 0.31},
                "earlier": {"L1": 0.70, "L2": 0.84, "L3": 0.87, "L4": 0.88},
            },
            3,
        ),
    ],
    ids=[
        "far from what it knows",
        "about as good",
        "about as good, and nearly right",
        "deeper is better",
        "deeper was better earlier",
    ],
)
def test_on_a_cpu_the_depth_hangs_on_which_heads_were_good(before, depth):
    assert depth_on_cpu(before) == depth


@pytest.mark.parametrize(("blind", "depth"), [((3,), 2), ((1, 2), 3)])
def test_what_is_trained_to_on_a_cpu_are_the_heads_that_were_good(make_model, output, blind, depth):
    model = make_model()
    with torch.no_grad():
        for classifier in model.network.classifiers.values():
            classifier.weight.fill_(0.0)
            classifier.bias.fill_(5.0)  # all is foreground
        for head in blind:
            list(model.network.classifiers.values())[head - 1].bias.fill_(-5.0)
    run(model, [correction(0)], output, options(4, depth=None))
    assert read_model(output).spec.depth == depth


@pytest.mark.parametrize("depth", [0, 4])
def test_a_depth_that_is_not_there_is_refused(tiny_model, output, depth):
    with pytest.raises(UserError, match=f"depth is {depth}, but tiny has the heads L1 to L3"):
        run(tiny_model, [correction(0)], output, options(depth=depth))


def test_a_second_class_is_added_and_the_first_stays(tuned, output):
    parent = read_model(tuned[1])

    def halves(mask):
        return mask * np.where(np.arange(SHAPE[0])[:, None] < 60, 1, 2).astype(np.uint8)

    events = run(parent, [correction(0, classes=halves)], output, options(3))
    model = read_model(output)
    assert model.spec.classes == ("foreground", "class 2")
    assert model.network.classes == 2
    assert events[0].scores[HELD_OUT]["L2"] > 0.1  # the first class is found as before
    untrained = parent.network.with_classes(2)
    x = torch.rand(1, 1, 40, 56, generator=torch.Generator().manual_seed(0))
    for new, old in zip(untrained(x), parent.network(x), strict=True):
        torch.testing.assert_close(new[:, :1], old, rtol=1e-4, atol=1e-5)


def test_from_nothing_takes_the_form_and_not_the_weights(tuned, output):
    parent = read_model(tuned[1])
    for start in ("model", "nothing"):
        run(parent, [correction(0)], output, options(1, start=start, fit={"learning_rate": 0.0}))
        model = read_model(output)
        assert model.spec.widths == parent.spec.widths
        weights = (m.network.get_parameter("classifiers.L2.weight") for m in (model, parent))
        assert torch.equal(*weights) == (start == "model")


def test_the_seed_decides(make_model, output):
    model = make_model(norm=None)
    losses = []
    for seed in (1, 1, 2):
        how = options(2, start="nothing", fit={"seed": seed})
        losses.append([event.loss for event in run(model, [correction(0)], output, how)])
    assert losses[0] == losses[1] != losses[2]


def test_no_corrections_are_refused(tiny_model, output):
    nothing = correction(0, known=np.zeros(SHAPE, bool))
    for corrections in ([], [nothing]):
        with pytest.raises(UserError, match="Nothing was corrected yet"):
            run(tiny_model, corrections, output)
    assert not output.exists()


def test_background_alone_is_refused(tiny_model, output):
    _, mask = discs(SHAPE, 0)
    for background in (
        correction(0, classes=lambda mask: np.zeros(SHAPE, np.uint8)),
        correction(0, known=~mask),
    ):
        with pytest.raises(UserError, match="all background"):
            run(tiny_model, [background], output)
        check_corrections([background, correction(1)], tiny_model.spec)


def test_channels_that_do_not_fit_are_refused(make_model, output):
    with pytest.raises(UserError, match="image 0 has 1 channels and tiny takes 2"):
        run(make_model(in_channels=2), [correction(0)], output)


def test_what_is_refused_is_refused_at_once(tiny_model, output):
    with pytest.raises(UserError):
        finetune(tiny_model, [], output=output)  # before the first event is asked for


# --- stopped


def test_a_stop_before_the_first_step_keeps_nothing(tiny_model, output):
    (event,) = run(tiny_model, [correction(0)], output, stop=lambda: True)
    assert event.step == 0
    assert not output.exists()


def test_a_stop_before_the_first_validation_is_measured_all_the_same(tiny_model, output):
    asked = iter([False, False, True, True])
    events = run(tiny_model, [correction(0)], output, stop=lambda: next(asked))
    result = result_of(events)
    assert result.steps == events[-1].step == 2
    assert result.after.keys() == {HELD_OUT}
    assert result.verdict.outcome != "unknown"
    assert read_model(output).spec.history[-1].settings["trained_steps"] == 2


def test_a_stop_keeps_the_best_so_far(tiny_model, output):
    seen = []
    for event in finetune(
        tiny_model,
        [correction(0)],
        output=output,
        options=options(300, fit={"validations": 60}),
        device=CPU,
        stop=lambda: len(seen) > 17,
    ):
        seen.append(event)
    assert len(seen) == 18
    saved = [event for event in seen if event.result is not None]
    best = max(saved, key=lambda event: event.result.steps)
    entry = read_model(output).spec.history[-1]
    assert entry.settings["trained_steps"] == best.step
    assert entry.scores["after"] == best.result.after
    scores = [np.mean(list(event.scores[HELD_OUT].values())) for event in seen[1:] if event.scores]
    assert np.mean(list(best.result.after[HELD_OUT].values())) == max(scores)


def test_time_is_a_limit_too(tiny_model, output):
    how = dataclasses.replace(options(10_000), minutes=0.01)
    events = run(tiny_model, [correction(0)], output, how)
    assert events[-1].step < 1000
    assert result_of(events).seconds < 10


# --- too little to tell


def test_one_spot_is_learnt_from_but_tells_nothing(tiny_model, output):
    known = np.zeros(SHAPE, bool)
    known[30:70, 30:70] = True
    events = run(tiny_model, [correction(0, known=known)], output, options(3))
    result = result_of(events)
    assert result.verdict.outcome == "unknown"
    assert (result.before, result.after) == ({}, {})
    assert result.steps == 3
    assert read_model(output).spec.history[-1].scores["heads"] == {}


def test_corrections_that_have_nothing_to_do_with_the_image_are_refused(tuned, output):
    parent = read_model(tuned[1])

    def elsewhere(mask):
        return np.roll(mask, (31, 43), (0, 1)).astype(np.uint8)

    garbage = [correction(n, classes=elsewhere) for n in (3, 4)]
    assert result_of(run(parent, garbage, output)).verdict.outcome == "not better"


# --- memory


def running_out(monkeypatch, *, above: int) -> list[int]:
    """Have memory run out on patches larger than that; gives the sides that were tried."""
    sides = []
    learn = Fit._learn

    def fail(self, image, *others):
        if not sides or sides[-1] != image.shape[-1]:
            sides.append(image.shape[-1])
        if image.shape[-1] > above:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return learn(self, image, *others)

    monkeypatch.setattr(Fit, "_learn", fail)
    return sides


@pytest.mark.parametrize(("start", "is_limited"), [("model", True), ("nothing", False)])
def test_a_gpu_does_not_learn_by_heart(tiny_model, output, monkeypatch, start, is_limited):
    """It is played by a device of another name that lives on the CPU."""
    monkeypatch.setattr("napari_unetpp.training.finetuning.STEPS_A_MINUTE", 0.4)
    gpu = Device("cpu:0", torch.float32, "GPU, fp32", "it is there.")
    stop = []
    for event in finetune(
        tiny_model,
        [correction(0)],
        output=output,
        options=options(None, start=start, minutes=10),
        device=gpu,
        stop=lambda: bool(stop),
    ):
        if event.step == 6:
            stop.append(True)
    assert event.step == (4 if is_limited else 6)


LARGE = {"patch": (256, 256), "batch": 1}


def test_smaller_patches_when_memory_runs_out(tiny_model, output, monkeypatch):
    sides = running_out(monkeypatch, above=64)
    events = run(tiny_model, [correction(0)], output, options(2, fit=LARGE))
    assert sides == [256, 128, 64]
    notices = [event.notice for event in events if event.notice]
    assert notices == ["Memory ran out on CPU, fp32: patches of 64 pixels now."]
    assert [event.step for event in events] == [0, 1, 2]
    assert read_model(output).spec.history[-1].settings["trained_steps"] == 2


def test_no_memory_at_all_is_one_sentence(tiny_model, output, monkeypatch):
    sides = running_out(monkeypatch, above=0)
    with pytest.raises(UserError, match="even with small patches") as caught:
        run(tiny_model, [correction(0)], output, options(2, fit=LARGE))
    assert "\n" not in str(caught.value)
    assert min(sides) == SMALLEST_PATCH[2]
    assert not output.exists()


def test_memory_may_run_out_in_the_first_validation(tiny_model, output, monkeypatch):
    from napari_unetpp.training import referee as module

    left = [1]

    def fail_once(*arguments):
        if left.pop() if left else 0:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return validate(*arguments)

    validate = module.validate
    monkeypatch.setattr(module, "validate", fail_once)
    events = run(tiny_model, [correction(0)], output, options(2, fit=LARGE))
    assert events[0].notice == "Memory ran out on CPU, fp32: patches of 128 pixels now."
    assert events[0].scores is not None


def test_what_was_better_before_memory_ran_out_is_kept(tiny_model, output, monkeypatch):
    """The training begins anew, and comes to nothing."""
    from napari_unetpp.training import fit as module

    learn, measure, steps = Fit._learn, module.validate, []

    def validate(*arguments):
        scores = measure(*arguments)
        return dataclasses.replace(scores, heads=dict.fromkeys(scores.heads, len(steps) < 25))

    def fail_late(self, *batch):
        steps.append(batch)
        if len(steps) == 25:
            raise MemoryError
        return learn(self, *batch)

    monkeypatch.setattr(Fit, "_learn", fail_late)
    monkeypatch.setattr(module, "validate", validate)
    how = options(30, fit={"patch": (128, 128), "validations": 15})
    events = run(tiny_model, [correction(0)], output, how, stop=lambda: len(steps) > 28)
    (again,) = [n for n, event in enumerate(events) if event.notice]
    first = [event for event in events[:again] if event.result is not None]
    second = [event for event in events[again:] if event.scores is not None]
    assert first
    assert second
    assert all(event.result is None for event in second)
    assert read_model(output).spec.history[-1].settings["trained_steps"] == first[-1].step


def test_before_is_what_the_old_version_finds(tiny_model, output, monkeypatch):
    """Though the new one takes the background for a bright one."""
    from napari_unetpp.training import finetuning as module

    def first(name):
        return run(tiny_model, [correction(0)], output.with_name(name), options(1))[0].scores

    usual = first("usual.safetensors")

    def turned(normalisation, corrections):
        return normalisation.model_copy(update={"background": "bright"})

    monkeypatch.setattr(module, "settled", turned)
    assert first("turned.safetensors") == usual
    spec = read_model(output.with_name("turned.safetensors")).spec
    assert spec.normalisation.background == "bright"


def test_another_error_is_a_bug(tiny_model, output, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Fit, "_learn", fail)
    with pytest.raises(RuntimeError, match="multiplied"):
        run(tiny_model, [correction(0)], output)


# --- patches around places


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.integers(20, 90), st.integers(20, 90))
def test_a_patch_is_drawn_around_a_place(seed, height, width):
    rng = np.random.default_rng(seed)
    place = rng.integers(2, (height - 2, width - 2))  # what is drawn ends there
    mask = np.zeros((1, height, width), np.uint8)
    mask[0, place[0], place[1]] = 1
    plane = np.zeros((1, height, width), np.float32)
    sample = Sample(plane, mask, np.ones_like(plane), "", places=(place[None],))
    still = Augmentation(scale=1.0, rotate=False)
    patch = draw_patch(sample, (16, 20), still, rng)
    assert patch.mask.max() == 1


def test_mistakes_are_drawn_as_often_as_all_the_rest():
    image = np.zeros((1, 40, 400), np.float32)
    mask = np.zeros((1, 40, 400), np.uint8)
    mask[:, :, 380:] = 1  # the mistake, in a twentieth of the image
    everywhere, wrong = np.argwhere(mask[0] >= 0), np.argwhere(mask[0] > 0)
    sample = Sample(image, mask, np.ones_like(image), "", places=(everywhere, wrong))
    rng = np.random.default_rng(0)
    seen = [draw_patch(sample, (24, 32), Augmentation(), rng).mask.max() for _ in range(200)]
    assert 0.5 < np.mean(seen) < 0.75


def test_a_model_that_is_nearly_right_learns_slowly():
    assert rate_for(2e-3, {"L1": 0.2, "L2": 0.59}) == 2e-3
    assert rate_for(2e-3, {"L1": 0.2, "L2": 0.6}) == pytest.approx(3e-4)


def test_halfway_is_between_all_weights(tiny_model, make_model):
    end = make_model().network
    with torch.no_grad():
        for value in end.state_dict().values():
            if value.is_floating_point():
                value.add_(1.0)
    half, before = halfway(tiny_model.network, end), tiny_model.network.state_dict()
    for name, value in half.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, before[name] + 0.5)
        else:
            torch.testing.assert_close(value, end.state_dict()[name])


@pytest.mark.parametrize(("half", "taken"), [(0.90, True), (0.896, True), (0.894, False)])
def test_the_version_half_way_is_taken_where_it_is_as_good(half, taken):
    end = {HELD_OUT: {"L1": 0.5, "L2": 0.9}}
    assert is_as_good({HELD_OUT: {"L1": 0.8, "L2": half}}, end) == taken
    worse_earlier = {HELD_OUT: {"L1": 0.8, "L2": half}, EARLIER: {"L1": 0.3}}
    assert not is_as_good(worse_earlier, end | {EARLIER: {"L1": 0.4}})


def test_the_rate_hangs_on_how_right_the_old_version_was(tuned, tmp_path):
    """A second fine-tuning on the same images begins with a model that is nearly right."""
    _, first = tuned
    model = read_model(first)
    planes, output = [correction(0), correction(1)], tmp_path / "again.safetensors"

    def rate(**arguments) -> float:
        run(model, planes, output, options(2, **arguments))
        return read_model(output).spec.history[-1].settings["learning_rate"]

    events = run(model, planes, output, options(2))
    assert max(events[0].scores[HELD_OUT].values()) > 0.6
    assert rate() == pytest.approx(0.15 * FIT.learning_rate)
    assert rate(start="nothing") == FIT.learning_rate
    assert read_model(output).spec.history[-1].settings["halfway"] is False  # of random weights


def test_pieces_that_are_held_out_take_no_more_memory_than_they_are_large(make_model, monkeypatch):
    monkeypatch.setitem(study.PIECE, 2, 16)
    monkeypatch.setitem(study.CONTEXT, 2, 4)
    (lesson,), _ = study.lessons_of([correction(0)], make_model().spec, ["held out"])
    assert len(lesson.held_out) > 8
    weights = [piece.weight for piece in lesson.held_out]
    kept = sum((each if each.base is None else each.base).nbytes for each in weights)
    assert kept <= 3 * sum(each.nbytes for each in weights)
    scored = sum(int((each > 0).sum()) for each in weights)
    assert 0.1 < scored / np.prod(SHAPE) < 0.3
