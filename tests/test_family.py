"""The networks of the family: counts, the forms that give the same logits, and what is refused."""

from collections.abc import Iterator
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch
from family_kinds import each
from hypothesis import example, given
from hypothesis import strategies as st

from napari_unetpp.inference.memory import channels_at_peak
from napari_unetpp.inference.tiles import halo
from napari_unetpp.models import ModelSpec
from napari_unetpp.network import Architecture, UNetPlusPlus
from napari_unetpp.network.architecture import NETWORKS, Block, Down, Skip, Up, grid
from napari_unetpp.network.blocks import BLOCKS
from napari_unetpp.network.cost import multiply_adds
from napari_unetpp.network.sampling import DOWN, UP, AveragePool, L2Pool, Shuffle

WIDTHS = (4, 6, 8)
PAPER = {  # one head, one channel, no norm
    "u-net": (7_759_521, 96.3),
    "wide-u-net": (9_282_246, 115.1),
    "unet+": (8_728_257, 189.7),
    "unet++": (9_041_601, 238.0),
}


def sensible() -> Iterator[Architecture]:
    """Every combination that is not refused."""
    for skip, block, down, up in product(*map(get_args, (Skip, Block, Down, Up))):
        groups = {"groups": 2} if block == "grouped" else {}
        try:
            yield Architecture(skip=skip, block=block, down=down, up=up, **groups)
        except ValueError:
            continue


ALL = list(sensible())
dimensions = pytest.mark.parametrize("dims", [2, 3])


def tiny(architecture: Architecture, dims: int = 2, **arguments) -> UNetPlusPlus:
    """A network with batch norms that do something, ready for use."""
    torch.manual_seed(0)
    arguments = {"in_channels": 2, "widths": WIDTHS, "norm": "batch", **arguments}
    network = UNetPlusPlus(dims=dims, architecture=architecture, **arguments)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.5)
    return network.eval().requires_grad_(False)


def image(*spatial: int, channels: int = 2) -> torch.Tensor:
    return torch.randn(2, channels, *spatial, generator=torch.Generator().manual_seed(1))


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", PAPER)
def test_parameters_and_cost_are_those_of_the_papers(name):
    preset = NETWORKS[name]
    with torch.device("meta"):
        network = UNetPlusPlus(
            widths=preset.widths, heads=(4,), architecture=Architecture(skip=preset.skip)
        )
    count, gigaflop = PAPER[name]
    assert parameters(network) == count
    assert 2 * multiply_adds(network, 4) * 512**2 / 1e9 == pytest.approx(gigaflop, abs=0.06)


def test_u_net_has_the_encoder_and_the_last_column_alone():
    network = tiny(Architecture(skip="plain"), widths=(4, 4, 4, 4))
    assert set(network.nodes) == {f"X_{i}_0" for i in range(4)} | {
        f"X_{i}_{3 - i}" for i in range(3)
    }
    assert network.supervised == (3,)
    assert len(list(grid(3, nested=False))) == 7


def test_kinds_differ_by_what_a_node_takes():
    inputs = {}
    for skip in get_args(Skip):
        network = tiny(Architecture(skip=skip), widths=(4, 4, 4, 4))
        node = network.nodes["X_0_3"]
        inputs[skip] = node[0].in_channels
    assert inputs == {"none": 4, "plain": 8, "unet+": 8, "aggregation": 8, "nested": 16}


def test_nodes_of_aggregation_have_a_single_convolution():
    network = tiny(Architecture(skip="aggregation", block="residual"))
    convolutions = {
        name: sum(isinstance(part, torch.nn.Conv2d) for part in node.modules())
        for name, node in network.nodes.items()
    }
    assert {convolutions[name] for name in ("X_0_1", "X_1_1", "X_0_2")} == {1}
    assert convolutions["X_1_0"] == 3  # two and the shortcut


@pytest.mark.parametrize("kinds", [(Block, BLOCKS), (Down, DOWN), (Up, UP)])
def test_every_kind_that_is_named_can_be_built(kinds):
    named, built = kinds
    assert set(get_args(named)) <= set(built)


def test_all_combinations_that_make_sense_run_and_learn():
    assert len(ALL) == 280
    for architecture, dims in product(ALL, (2, 3)):
        network = tiny(architecture, dims, widths=(2, 4)).requires_grad_(True)
        sum(x.square().mean() for x in network(image(*(5, 4, 3)[:dims]))).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, (architecture, name)
            assert torch.isfinite(parameter.grad).all(), (architecture, name)


sizes = st.integers(1, 13)


@each
@dimensions
@given(size=st.tuples(sizes, sizes, sizes))
@example(size=(1, 1, 1))
@example(size=(11, 9, 7))
def test_any_size_pruned_and_folded_give_the_same_logits(architecture, dims, size):
    network, x = tiny(architecture, dims), image(*size[:dims])
    logits = network(x)
    assert len(logits) == len(network.supervised)
    folded = network.folded()(x)
    for k, whole, quick in zip(network.supervised, logits, folded, strict=True):
        assert whole.shape == (2, 1, *size[:dims])
        torch.testing.assert_close(network.pruned(k)(x), [whole], rtol=0, atol=0)
        torch.testing.assert_close(network.up_to(k)(x)[-1], whole, rtol=0, atol=0)
        torch.testing.assert_close(quick, whole, rtol=1e-3, atol=1e-3)


@each
def test_folded_has_no_norm(architecture):
    folded = tiny(architecture, dropout=0.5).folded()
    assert not any(
        isinstance(m, (torch.nn.BatchNorm2d, torch.nn.Dropout)) for m in folded.modules()
    )


@each
@dimensions
@pytest.mark.parametrize("last", [False, True])
def test_strips_make_no_difference(monkeypatch, architecture, dims, last):
    network = tiny(architecture, dims, widths=(4, 4, 4)).double()
    x = image(*((75, 10) if dims == 2 else (43, 6, 7))).double()
    if last:
        kind = torch.channels_last if dims == 2 else torch.channels_last_3d
        network, x = network.to(memory_format=kind), x.to(memory_format=kind)
    with torch.inference_mode():
        whole = network(x)
        monkeypatch.setattr("napari_unetpp.network.strips.STRIP", 16)
        for one, other in zip(whole, network(x), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@each
def test_halo_is_as_far_as_the_side_of_a_tile_is_felt(architecture):
    network, stride, reach = tiny(architecture, norm=None).double(), 4, halo(2, architecture)
    start, stop = 4 * stride, (8 + 2 * reach // stride) * stride
    x = image(stop + 61, 8).double()
    whole, part = network(x)[-1][:, :, start:stop], network(x[:, :, start:stop])[-1]
    different = ((whole - part).abs().amax(dim=(0, 1, 3)) > 1e-12).nonzero().ravel()
    assert not ((different >= reach) & (different < stop - start - reach)).any()
    assert len(different) > 0


@each
def test_cost_counts_what_is_computed(architecture):
    network, size, count = tiny(architecture).folded(), (24, 32), 0

    def add(module, inputs, output):
        nonlocal count
        moved = inputs[0] if isinstance(module, torch.nn.ConvTranspose2d) else output
        count += module.weight.numel() * moved[0, 0].numel()

    (k,) = network.supervised[-1:]
    pruned = network.pruned(k)
    for module in pruned.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.register_forward_hook(add)
    pruned(image(*size)[:1])
    assert multiply_adds(network, k) * size[0] * size[1] == count


@each
def test_the_model_of_memory_is_no_less_than_what_is_held(architecture):
    """What nodes and their concatenated inputs take together at once, without strips."""
    spec = ModelSpec(name="a", widths=WIDTHS, architecture=architecture, norm=None)
    network, side = tiny(architecture, in_channels=1, norm=None), 32
    most = 0.0

    def note(module, inputs, output):
        nonlocal most
        most = max(most, sum(x[0].numel() for x in (*inputs, output)))

    for node in network.nodes.values():
        node.register_forward_hook(note)
    network(image(side, side, channels=1))
    assert channels_at_peak(spec, network.supervised[-1], side) * side**2 >= most


def test_u_net_holds_less_than_unetpp():
    specs = [ModelSpec(name="a", architecture=Architecture(skip=s)) for s in ("plain", "nested")]
    slim, whole = (channels_at_peak(spec, 4, 512) for spec in specs)
    assert slim < 0.8 * whole


def test_pooling_is_right_to_the_odd_end():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    torch.testing.assert_close(AveragePool()(x)[0, 0], torch.tensor([[2.0, 3.5], [6.5, 8.0]]))
    squares = torch.tensor([[26 / 4, 29 / 2], [85 / 2, 64.0]])
    torch.testing.assert_close(L2Pool()(x)[0, 0], squares.sqrt())
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    L2Pool()(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_sub_pixels_are_those_of_torch():
    x = image(3, 5, channels=8)
    torch.testing.assert_close(Shuffle()(x), torch.nn.PixelShuffle(2)(x), rtol=0, atol=0)


def test_unpooling_puts_values_where_the_largest_were():
    up = UP["unpooling"](1, 1, 2)
    torch.nn.init.ones_(up.project.weight)
    torch.nn.init.zeros_(up.project.bias)
    guide = torch.tensor([[0.0, 9, 1], [2, 3, 5], [4, 7, 6]])[None, None]
    values = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    wanted = np.array([[0, 1, 0], [0, 0, 2], [0, 3, 4]])
    np.testing.assert_array_equal(up(values, guide)[0, 0].detach(), wanted)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"skip": "dense"}, "no skip 'dense' in the family: choose one of none, plain"),
        ({"block": "wide"}, "no block 'wide'"),
        ({"down": "none"}, "no down 'none'"),
        ({"up": "bilinear"}, "no up 'bilinear'"),
        ({"down": "average", "up": "unpooling"}, "max pooling took them from.*give down 'max'"),
        ({"down": "dilated"}, "nothing for up 'transposed' to sample up: give up 'none'"),
        ({"up": "none"}, "have to be sampled up again"),
        ({"block": "grouped", "groups": 0}, "groups is 0"),
        ({"block": "dense", "groups": 2}, "has no groups"),
    ],
)
def test_kinds_that_do_not_go_together_are_refused(kinds, words):
    with pytest.raises(ValueError, match=words) as caught:
        Architecture(**kinds)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "arguments", "words"),
    [
        ({"block": "grouped"}, {"widths": (35, 70)}, "35, 70 can't be divided into 8 groups"),
        ({"block": "dense"}, {"widths": (1, 2)}, "widths of 2 or more"),
        ({"skip": "plain"}, {"heads": (1, 2)}, r"just the last column .* give heads \(2,\)"),
        ({"skip": "none"}, {"heads": (1,)}, "just the last column"),
        ({"skip": "plain"}, {"heads": (3,)}, "from 1 to the depth, 2"),
        ({"skip": "plain"}, {"heads": ()}, "just the last column"),
    ],
)
def test_widths_and_heads_that_do_not_fit_are_refused(kinds, arguments, words):
    with pytest.raises(ValueError, match=words):
        tiny(Architecture(**kinds), **arguments)


def test_a_depth_that_u_net_does_not_have_is_refused():
    network = tiny(Architecture(skip="plain"))
    with pytest.raises(ValueError, match="no depth 1"):
        network(image(8, 8), 1)
    with pytest.raises(ValueError, match="no head L1"):
        network.pruned(1)
