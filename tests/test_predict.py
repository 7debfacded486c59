"""From an array to the probabilities of the heads, through the one path there is."""

import dataclasses
import logging
import re
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unetpp.errors import UserError
from napari_unetpp.files import read_image, sample_path
from napari_unetpp.inference import memory
from napari_unetpp.inference.devices import (
    Device,
    alone_on,
    choose_device,
    is_out_of_memory,
    prepared,
)
from napari_unetpp.inference.heads import Heads, disagreement_of, mask_of
from napari_unetpp.inference.normalise import find_limits, normalise
from napari_unetpp.inference.options import SMALLEST_TILE
from napari_unetpp.inference.predict import (
    SegmentOptions,
    segment,
    segment_region,
    segment_tiles,
)
from napari_unetpp.inference.tiles import least_tile
from napari_unetpp.inference.uncertain import entropy_of, uncertain_places
from napari_unetpp.models import Normalisation, load_model
from napari_unetpp.network import UNetPlusPlus

FLOATS = SegmentOptions(floats=True)


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    """Blurred noise, so that neighbouring pixels belong together as in a picture."""
    noise = np.random.default_rng(seed).random((*shape[:-1], shape[-1] + 4)).cumsum(-1)
    return noise[..., 4:] - noise[..., :-4]


def bare(model, plane: np.ndarray, k: int) -> np.ndarray:
    """Head `k` of a grey plane by the plain network, without tiles and tricks."""
    x = normalise(plane, find_limits(plane, model.spec.normalisation))
    with torch.no_grad():
        return model.network(torch.from_numpy(x)[None, None])[k - 1][0, 0].sigmoid().numpy()


@pytest.mark.usefixtures("fp32")
def test_the_probabilities_are_those_of_the_network(tiny_model):
    image = picture(45, 64)
    heads = segment(image, tiny_model, options=FLOATS)
    assert heads.probabilities.shape == (3, 45, 64)
    assert heads.probabilities.dtype == np.float32
    for k in (1, 2, 3):
        wanted = bare(tiny_model, image, k)
        assert np.ptp(wanted) > 0.05  # else this test would say nothing
        np.testing.assert_allclose(heads.probabilities[k - 1], wanted, atol=1e-4)


def test_any_precision_is_near_the_network(tiny_model):
    image = picture(45, 64)
    heads = segment(image, tiny_model, options=FLOATS)
    np.testing.assert_allclose(heads.probabilities[2], bare(tiny_model, image, 3), atol=0.02)


def test_bytes_and_floats_agree(tiny_model):
    image = picture(250, 300)
    for tile, steps in ((512, 0.5), (176, 1.5)):  # each blending rounds once more
        options = SegmentOptions(tile=tile)
        bytes_ = segment(image, tiny_model, options=options).values
        floats = segment(image, tiny_model, options=dataclasses.replace(options, floats=True))
        assert bytes_.dtype == np.uint8
        assert abs(bytes_ - 255 * floats.values).max() <= steps + 1e-3


@pytest.mark.usefixtures("fp32")
@settings(max_examples=12)
@given(st.integers(60, 300), st.integers(60, 300), st.integers(128, 220), st.integers(1, 3))
def test_tiles_make_no_difference(tiny_model, height, width, tile, depth):
    image = picture(height, width)
    options = SegmentOptions(floats=True, depth=depth)
    whole = segment(image, tiny_model, options=options)
    tiled = segment(image, tiny_model, options=dataclasses.replace(options, tile=tile))
    assert abs(whole.values - tiled.values).max() <= 0.02


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("depth", [3, 4])
def test_the_smallest_tiles_make_no_difference_to_heads_that_see_far(depth):
    image = read_image(sample_path("nuclei")).data[100:340, 120:530]
    options = SegmentOptions(floats=True, depth=depth)
    whole = segment(image, load_model("nuclei"), options=options)
    options = dataclasses.replace(options, tile=SMALLEST_TILE[2])
    tiled = segment(image, load_model("nuclei"), options=options)
    assert abs(whole.values - tiled.values).max() <= 0.02


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("axes", ["XY", "YXZ", "ZXY", "YZX", "XTZY", "CZXY"])
def test_the_order_of_the_axes_makes_no_difference(tiny_model, axes):
    usual = "".join(sorted(axes, key="TZCYX".index))
    lengths = {"T": 2, "Z": 3, "C": 2, "Y": 27, "X": 44}
    image = picture(*(lengths[a] for a in usual))
    options = SegmentOptions(floats=True, channels=(1,) if "C" in axes else None)
    wanted = segment(image, tiny_model, axes=usual, options=options)
    turned = image.transpose([usual.index(a) for a in axes])
    result = segment(turned, tiny_model, axes=axes, options=options)
    assert result.axes == axes.replace("C", "")
    order = [0, *(1 + wanted.axes.index(a) for a in result.axes)]
    np.testing.assert_allclose(
        result.probabilities, wanted.probabilities.transpose(order), atol=1e-5
    )


@pytest.mark.parametrize(
    "dtype", ["?", "u1", ">u2", "i2", "i8", "u8", "f2", ">f4", "f8", "longdouble"]
)
def test_every_real_dtype_is_segmented(tiny_model, dtype):
    image = (picture(20, 40) * 60 - (0 if np.dtype(dtype).kind == "u" else 90)).astype(dtype)
    values = segment(image, tiny_model).values
    assert values.shape == (3, 1, 20, 40)
    assert np.ptp(values) > 0


def test_scale_and_bits_make_no_difference(tiny_model):
    image = (picture(20, 40) * 900).astype(np.uint16)
    twelve_in_sixteen = segment(image << 4, tiny_model).values
    np.testing.assert_array_equal(segment(image, tiny_model).values, twelve_in_sixteen)


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
@pytest.mark.parametrize("shape", [(20, 30), (1, 1), (1, 33), (2, 1, 1)])
def test_a_constant_image_is_segmented(tiny_model, value, shape):
    heads = segment(np.full(shape, value, np.float32), tiny_model, options=FLOATS)
    assert heads.probabilities.shape == (3, *shape)
    assert np.isfinite(heads.probabilities).all()


def test_nan_and_infinity_do_not_spread(tiny_model):
    image = picture(30, 52)
    image[4, 5:8] = [np.nan, np.inf, -np.inf]
    assert np.isfinite(segment(image, tiny_model, options=FLOATS).values).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "options", "words"),
    [
        ((0, 9), "f4", None, {}, "no pixels"),
        ((9,), "f4", None, {}, "an image has Y and X"),
        ((8, 9), "c8", None, {}, "complex"),
        ((8, 9), "f4", "ZYX", {}, "name 3 axes"),
        ((2, 8, 9), "f4", "CYX", {}, "choose one of its channels"),
        ((8, 9), "f4", None, {"depth": 4}, "tiny has the heads L1 to L3"),
        ((8, 9), "f4", None, {"depth": 0}, "depth is 0"),
        ((8, 9), "f4", None, {"tile": 127}, "give 128 or more"),
        ((8, 9), "f4", None, {"device": "tpu"}, "unknown: use one of auto"),
        ((8, 9), "f4", None, {"channels": (1,)}, "no channel 1"),
    ],
)
def test_bad_input_is_refused_at_once(tiny_model, shape, dtype, axes, options, words):
    image = np.zeros(shape, dtype)
    with pytest.raises(UserError, match=words):
        segment_tiles(image, tiny_model, axes=axes, options=SegmentOptions(**options))


def test_colour_is_turned_to_grey_and_three_planes_are_not(tiny_model):
    rgb = (255 * np.random.default_rng(0).random((24, 31, 3)) ** 3).astype(np.uint8)  # dark
    grey = segment(rgb @ np.float32([0.299, 0.587, 0.114]), tiny_model).values
    np.testing.assert_allclose(segment(rgb, tiny_model).values, grey, atol=1)
    planes = segment(np.moveaxis(rgb, -1, 0), tiny_model)
    assert (planes.axes, planes.probabilities.shape) == ("ZYX", (3, 3, 24, 31))


def test_a_model_of_several_channels_and_classes(make_model):
    model = make_model(in_channels=2, classes=("nucleus", "cell", "other"))
    heads = segment(picture(2, 20, 34), model, axes="CYX", options=FLOATS)
    assert heads.probabilities.shape == (3, 3, 20, 34)
    masks = heads.masks(0.4)
    assert masks.shape == (3, 20, 34)
    assert set(np.unique(masks)) <= {0, 1, 2, 3}
    assert heads.ensemble().shape == (3, 20, 34)
    assert heads.disagreement().shape == (20, 34)


def test_depth_computes_no_deeper_heads(tiny_model):
    image = picture(20, 40)
    shallow = segment(image, tiny_model, options=SegmentOptions(depth=2))
    assert shallow.depth == 2
    np.testing.assert_array_equal(shallow.values, segment(image, tiny_model).values[:2])


def test_heads_come_in_order_and_the_work_adds_up(tiny_model):
    events = []
    image = picture(2, 70, 260)
    segment(image, tiny_model, options=SegmentOptions(tile=128), progress=events.append)
    heads = [event.head for event in events]
    assert heads == [1, 2, 3] * (len(events) // 3)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[0] > 0
    assert fractions[-1] == pytest.approx(1)
    assert {event.index for event in events} == {(0,), (1,)}
    assert all(event.device.reason and event.device.label for event in events)


def test_the_first_head_is_there_before_the_second_is_computed(tiny_model, monkeypatch):
    computed = []
    original = UNetPlusPlus._heads

    def counting(self, x, depth):
        for k, logits in enumerate(original(self, x, depth), start=1):
            computed.append(k)
            yield logits

    monkeypatch.setattr(UNetPlusPlus, "_heads", counting)
    heads, events = segment_tiles(picture(20, 40), tiny_model)
    assert not computed
    next(events)
    assert computed == [1]
    assert heads.values[0].any()
    assert not heads.values[1:].any()


def test_cancel_keeps_what_is_there(tiny_model):
    image = picture(3, 70, 260)
    whole = segment(image, tiny_model, options=SegmentOptions(tile=128))
    heads, events = segment_tiles(image, tiny_model, options=SegmentOptions(tile=128))
    for event in events:
        if event.index == (1,):
            break
    events.close()
    np.testing.assert_array_equal(heads.values[:, :, 0], whole.values[:, :, 0])
    assert heads.values[0, 0, 1][event.region].any()
    assert not heads.values[:, :, 2].any()


def test_indices_choose_planes_and_their_order(tiny_model):
    image = picture(4, 20, 40)
    order = [(2,), (0,)]
    heads, events = segment_tiles(image, tiny_model, options=SegmentOptions(indices=order))
    assert [event.index for event in events if event.head == 1] == order
    whole = segment(image, tiny_model)
    np.testing.assert_array_equal(heads.values[:, :, [0, 2]], whole.values[:, :, [0, 2]])
    assert not heads.values[:, :, [1, 3]].any()


def test_region_is_all_that_is_computed(tiny_model):
    image = picture(150, 204)
    region = (slice(40, 100), slice(72, 190))
    heads = segment(image, tiny_model, options=SegmentOptions(region=region))
    whole = segment(image, tiny_model)
    assert heads.values[(..., *region)].all()
    assert not heads.values[..., 100:, :].any()
    assert not heads.values[..., :40, :].any()
    assert not heads.values[..., 190:].any()
    # The same intensities as for the whole plane, and the same result away from the sides.
    inner = (0, 0, slice(50, 90), slice(82, 180))
    assert abs(heads.values[inner].astype(int) - whole.values[inner]).max() <= 2


def test_focus_says_which_tile_comes_first(tiny_model):
    options = SegmentOptions(tile=128, focus=(140, 10))
    _, events = segment_tiles(picture(150, 204), tiny_model, options=options)
    rows, columns = next(events).region
    assert rows.start <= 140 < rows.stop
    assert columns.start <= 10 < columns.stop


def test_a_run_goes_on_into_earlier_heads(tiny_model):
    image = picture(2, 20, 40)
    heads = segment(image, tiny_model, options=SegmentOptions(indices=[(0,)]))
    same, events = segment_tiles(
        image, tiny_model, options=SegmentOptions(indices=[(1,)]), into=heads
    )
    assert same is heads
    assert len(list(events)) == 3
    np.testing.assert_array_equal(heads.values, segment(image, tiny_model).values)
    with pytest.raises(ValueError, match="another image"):
        segment_tiles(image[:, :10], tiny_model, into=heads)


def test_the_model_is_left_alone(tiny_model):
    before = {key: value.clone() for key, value in tiny_model.network.state_dict().items()}
    segment(picture(20, 40), tiny_model)
    torch.testing.assert_close(dict(tiny_model.network.state_dict()), before, rtol=0, atol=0)
    assert not torch.is_inference_mode_enabled()


def test_another_normalisation_can_be_asked_for(tiny_model):
    image = picture(20, 40)
    bright = SegmentOptions(normalisation=Normalisation(background="bright"), floats=True)
    dark = SegmentOptions(normalisation=Normalisation(background="dark"), floats=True)
    turned = segment(image, tiny_model, options=bright).values
    assert abs(turned - segment(image, tiny_model, options=dark).values).max() > 0.01


def short_of_memory(monkeypatch, pixels: int) -> None:
    """Let the network run out of memory on tiles of more than so many pixels."""
    original = UNetPlusPlus._heads

    def heads(self, x, depth):
        for k, logits in enumerate(original(self, x, depth)):
            if k == 1 and x[0, 0].numel() > pixels:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            yield logits

    monkeypatch.setattr(UNetPlusPlus, "_heads", heads)


@pytest.mark.usefixtures("fp32")
def test_when_memory_runs_out_tiles_get_smaller(tiny_model, monkeypatch, caplog):
    image = picture(150, 300)
    whole = segment(image, tiny_model, options=FLOATS)
    short_of_memory(monkeypatch, 160 * 160)
    events = []
    with caplog.at_level(logging.WARNING):
        heads = segment(image, tiny_model, options=FLOATS, progress=events.append)
    assert abs(heads.values - whole.values).max() <= 0.02
    notices = [event.notice for event in events if event.notice]
    smaller = "Memory ran out on CPU, fp32: tiles of 150 pixels now."
    assert notices == [f"{smaller} Near the sides of tiles of 150 pixels L3 sees too little."]
    assert notices[0] in caplog.text
    assert events[-1].fraction == pytest.approx(1)


def test_without_any_memory_there_is_a_sentence(tiny_model, monkeypatch):
    short_of_memory(monkeypatch, 0)
    with pytest.raises(UserError, match="Memory ran out on the CPU even with small tiles"):
        segment(picture(150, 204), tiny_model)


@pytest.mark.parametrize("shape", [(150, 204), (150, 600)])
def test_when_the_gpu_is_too_small_the_cpu_takes_over(tiny_model, monkeypatch, caplog, shape):
    """The GPU is played by a device of another name that lives on the CPU.

    Its tiles get no smaller than what the head has to see: a larger one on the CPU is right.
    """
    image = picture(*shape)
    wanted = segment(image, tiny_model).values
    gpu = Device("cpu:0", torch.float32, "GPU, fp32", "it is there.")
    monkeypatch.setattr(
        "napari_unetpp.inference.engine.choose_device",
        lambda wanted: choose_device("cpu") if wanted == "cpu" else gpu,
    )
    original = UNetPlusPlus._heads
    monkeypatch.setattr(
        "napari_unetpp.inference.ready.prepared",
        lambda network, device: mark(prepared(network, device), device),
    )

    def mark(network, device):
        network.full = device is gpu
        return network

    def heads(self, x, depth):
        if getattr(self, "full", False):
            raise RuntimeError("CUDA out of memory.")
        yield from original(self, x, depth)

    monkeypatch.setattr(UNetPlusPlus, "_heads", heads)
    events = []
    result = segment(image, tiny_model, progress=events.append)
    np.testing.assert_allclose(result.values, wanted, atol=3)
    assert events[0].notice == "Memory ran out on GPU, fp32: it goes on on the CPU."
    sizes = [int(size) for size in re.findall(r"tiles of (\d+) pixels now", caplog.text)]
    assert sizes == ([192] if shape[1] < 300 else [300, 192])
    assert sizes[-1] == least_tile(3, 8)
    assert {event.device.kind for event in events} == {"cpu"}


def test_other_errors_are_not_swallowed(tiny_model, monkeypatch):
    def broken(self, x, depth):
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(UNetPlusPlus, "_heads", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        segment(picture(20, 40), tiny_model)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20.00 GiB.",
        "MPS backend out of memory (MPS allocated: 5 GB)",
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    ],
)
def test_running_out_of_memory_is_recognised(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("shapes don't match"))


@pytest.mark.parametrize(
    ("gpu", "built_for", "runs"),
    [
        ((8, 6), ["sm_75", "sm_80", "sm_90a"], True),
        ((7, 5), ["sm_75", "sm_80"], True),
        ((6, 1), ["sm_75", "sm_80", "sm_120", "compute_120"], False),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((12, 1), ["sm_90", "sm_120"], True),
        ((13, 0), ["sm_90", "compute_120"], True),
        ((13, 0), ["sm_90", "sm_120"], False),
        ((6, 1), [], True),
    ],
)
def test_a_gpu_that_torch_was_not_built_for_is_left_alone(monkeypatch, gpu, built_for, runs):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GeForce")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    device = choose_device()
    assert device.kind == ("cuda" if runs else "cpu")
    if not runs:
        assert "has no code for GeForce" in device.reason
        with pytest.raises(UserError, match=r"has no code for GeForce\. Choose auto or cpu"):
            choose_device("cuda")


@pytest.mark.parametrize(("kind", "waits"), [("mps", True), ("cuda", False), ("cpu", False)])
def test_on_an_apple_gpu_one_thread_computes_at_a_time(kind, waits):
    came = threading.Event()

    def compute():
        with alone_on(kind):
            came.set()

    thread = threading.Thread(target=compute)
    with alone_on(kind):
        thread.start()
        assert came.wait(0.2) != waits
    thread.join()
    assert came.is_set()


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"{wanted.upper()} can't be used: .*Choose auto or cpu"):
        choose_device(wanted)


def test_auto_says_why(monkeypatch):
    assert choose_device("auto").reason.endswith(".")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device = choose_device()
    assert device.kind == "cpu"
    assert "because" in device.reason
    assert choose_device("cpu").reason != device.reason


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() or torch.backends.mps.is_available()), reason="no GPU"
)
def test_a_gpu_agrees_with_the_cpu(tiny_model):
    image = picture(150, 204)
    on_cpu = segment(image, tiny_model, options=SegmentOptions(device="cpu", floats=True))
    on_gpu = segment(image, tiny_model, options=SegmentOptions(tile=128, floats=True))
    assert choose_device().kind != "cpu"
    assert abs(on_gpu.values - on_cpu.values).max() <= 0.04


def test_masks_of_one_class():
    values = np.array([[0, 127, 128, 255]], np.uint8)
    assert mask_of(values).tolist() == [0, 0, 1, 1]
    assert mask_of(values.astype(np.float32) / 255).tolist() == [0, 0, 1, 1]
    assert mask_of(values, 1.0).tolist() == [0, 0, 0, 1]


def test_masks_of_several_classes_take_the_most_probable():
    values = np.array([[0.9, 0.2, 0.6], [0.1, 0.3, 0.7]], np.float32)
    assert mask_of(values).tolist() == [1, 0, 2]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, np.nan])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(UserError, match="above 0 and up to 1"):
        mask_of(np.zeros((1, 2, 3), np.uint8), threshold)


@given(st.integers(1, 4), st.integers(0, 100))
def test_disagreement_is_nothing_when_heads_agree_and_all_when_half_do_not(heads, seed):
    one = np.random.default_rng(seed).integers(0, 256, (1, 1, 3, 5), np.uint8)
    all_heads = np.full(one.shape[2:], heads, np.uint8)
    assert not disagreement_of(np.repeat(one, heads, axis=0), all_heads).any()
    split = np.zeros((2 * heads, 1, 3, 5), np.uint8)
    split[heads:] = 255
    assert (disagreement_of(split, 2 * all_heads) == 255).all()
    floats = disagreement_of((split / 255).astype(np.float32), 2 * all_heads)
    np.testing.assert_allclose(floats, 1, atol=1e-6)


def test_a_run_survives_another_that_clears_the_kept_network(tiny_model, monkeypatch):
    """As runs in the threads of two viewers do, at any moment."""

    class ForgetsAtOnce(dict):
        def __setitem__(self, key, value):
            pass

    monkeypatch.setattr("napari_unetpp.inference.ready._READY", ForgetsAtOnce())
    assert segment(picture(20, 40), tiny_model).values.any()


def test_empty_heads_are_all_background(tiny_model):
    heads, _ = segment_tiles(picture(20, 40), tiny_model)
    assert isinstance(heads, Heads)
    assert not heads.masks().any()
    assert not heads.ensemble().any()


@given(st.lists(st.integers(1, 70), min_size=2, max_size=3), st.integers(0, 100))
def test_uncertain_places_lie_in_the_image_and_come_in_order(shape, seed):
    values = np.random.default_rng(seed).random(shape, np.float32)
    start = [5, 0, 7][: len(shape)]
    places = uncertain_places(values, (3,), start)
    for place in places:
        inside = np.subtract(place.position, start)
        assert ((inside >= 0) & (inside < shape)).all()
        assert place.index == (3,)
    figures = [p.entropy for p in places]
    assert figures == sorted(figures, reverse=True)


@pytest.mark.parametrize(("y", "x"), [(20, 25), (66, 93), (66, 3)])
def test_the_uncertain_place_is_found_at_a_border_too(y, x):
    values = np.zeros((67, 94), np.float32)
    values[max(y - 6, 0) : y + 6, max(x - 6, 0) : x + 6] = 1
    (place,) = uncertain_places(values, ())
    assert np.hypot(*np.subtract(place.position, (y, x))) < 16
    assert not uncertain_places(np.zeros_like(values), ())


def test_the_deepest_computed_head_says_how_unsure_it_is():
    values = np.zeros((2, 1, 2, 3), np.uint8)
    values[0, 0] = [[0, 128, 255], [128, 128, 0]]  # head 1
    values[1, 0] = [[128, 0, 255], [0, 0, 0]]  # head 2
    reached = np.array([[2, 2, 2], [1, 0, 0]], np.uint8)
    found = entropy_of(values, reached)
    np.testing.assert_allclose(found, [[1, 0, 0], [1, 0, 0]], atol=0.02)
    np.testing.assert_allclose(entropy_of(values / np.float32(255), reached), found, atol=1e-3)


def test_a_region_is_as_in_the_whole_plane_because_its_surroundings_are_seen(make_model, fp32):
    model = make_model(widths=(4, 6))  # L1: its halo is within what is read around a region
    image = np.random.default_rng(4).integers(0, 4000, (96, 131), np.uint16)
    whole = segment(image, model).probabilities[0]
    rows, columns = slice(33, 61), slice(50, 90)
    part = segment(image, model, options=SegmentOptions(region=(rows, columns))).probabilities[0]
    np.testing.assert_allclose(
        part[rows, columns].astype(int), whole[rows, columns].astype(int), atol=1
    )
    outside = np.ones(image.shape, bool)
    outside[rows, columns] = False
    assert not part[outside].any()


@pytest.mark.parametrize("rows", [slice(5, 5), slice(0, 200), slice(-3, 4)])
def test_a_region_outside_the_plane_is_refused(tiny_model, rows):
    image = np.zeros((48, 68), np.uint8)
    with pytest.raises(UserError, match="the plane has 48 pixels"):
        segment(image, tiny_model, options=SegmentOptions(region=(rows, slice(0, 9))))


def test_heads_that_are_not_computed_yet_count_nowhere(tiny_model):
    image = picture(48, 68)
    heads, _ = segment_tiles(image, tiny_model)
    for options in (
        SegmentOptions(depth=1),
        SegmentOptions(depth=3, region=(slice(0, 48), slice(20, 68))),
    ):
        _, events = segment_tiles(image, tiny_model, options=options, into=heads)
        assert list(events)
    assert (heads.reached[:, :20] == 1).all()
    assert (heads.reached[:, 20:] == 3).all()
    assert not heads.disagreement()[:, :20].any()
    assert heads.disagreement()[:, 20:].any()
    np.testing.assert_array_equal(heads.ensemble()[0][:, :20], heads.probabilities[0][:, :20])
    mean = heads.probabilities[:, :, 20:].mean(axis=0)
    np.testing.assert_allclose(heads.ensemble()[0][:, 20:], mean, atol=0.5)


@pytest.mark.usefixtures("fp32")
def test_regions_on_their_own_make_up_the_whole(tiny_model):
    image = picture(2, 150, 210)
    whole = segment(image, tiny_model).values
    for top, bottom in ((0, 64), (64, 150)):
        for left, right in ((0, 100), (100, 210)):
            region = (slice(top, bottom), slice(left, right))
            part = segment_region(image, tiny_model, axes="ZYX", index=(1,), region=region)
            wanted = whole[:, :, 1, top:bottom, left:right].astype(int)
            assert part.shape == wanted.shape
            assert abs(part - wanted).max() <= 5


@pytest.mark.parametrize(("dims", "depth"), [(2, 1), (2, 3), (3, 2)])
def test_tiles_are_as_large_as_memory_allows(make_model, monkeypatch, dims, depth):
    spec, device = make_model(dims=dims).spec, choose_device("cpu")
    sides = []
    for room in (1e5, 1e7, 1e9, 1e13):
        monkeypatch.setattr(memory, "_room", lambda device, dims, room=room: room)
        sides.append(memory.tile_for(spec, depth, device))
        if sides[-1] > SMALLEST_TILE[dims]:
            assert memory.bytes_of_tile(spec, depth, device, sides[-1]) <= room
    assert sides == sorted(sides)
    assert sides[0] == SMALLEST_TILE[dims]
    assert sides[-1] == memory.LARGEST_TILE[dims]


def test_very_large_planes_leave_room_for_what_is_shown_of_them(make_model):
    spec, device = make_model(widths=(32, 64, 128)).spec, choose_device("cpu")
    sides = [memory.tile_for(spec, 2, device, side**2) for side in (512, 6000, 8192, 20_000)]
    assert sides[0] > sides[1] > sides[2]
    assert sides[3] == memory.tile_for(spec, 2, device)  # it is shown by levels


def test_the_size_that_worked_is_remembered(tiny_model, monkeypatch):
    short_of_memory(monkeypatch, 160 * 160)
    segment(picture(150, 300), tiny_model)
    events = []
    segment(picture(150, 300), tiny_model, progress=events.append)
    (notice,) = (event.notice for event in events if event.notice)
    assert notice.startswith("Little memory is free. Near the sides of tiles of 1")
    events = []
    segment(picture(100, 140), tiny_model, progress=events.append)  # in one tile
    assert not [event.notice for event in events if event.notice]
