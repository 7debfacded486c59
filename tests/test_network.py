"""The grid of UNet++: its counts, its heads, and the forms that give the same logits."""

import copy

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from napari_unetpp.network import UNetPlusPlus
from napari_unetpp.network.blocks import ConvBlock, Units
from napari_unetpp.network.cost import multiply_adds

WIDTHS = (4, 6, 8, 8)
SLIDES = {1: 100_961, 2: 511_105, 3: 2_204_961, 4: 9_041_601}
GFLOP_AT_512 = {1: 27.8, 2: 71.0, 3: 139.5, 4: 238.0}

sizes = st.integers(1, 19)


def tiny(**arguments) -> UNetPlusPlus:
    torch.manual_seed(0)
    network = UNetPlusPlus(**{"widths": WIDTHS, "norm": "batch", **arguments})
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.5)
    return network.eval().requires_grad_(False)


TINY = {dims: tiny(in_channels=2, classes=3, dims=dims) for dims in (2, 3)}


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def image(*spatial: int, channels: int = 2) -> torch.Tensor:
    return torch.randn(2, channels, *spatial, generator=torch.Generator().manual_seed(1))


def computed_nodes(network: UNetPlusPlus) -> list[str]:
    """The names of the nodes in the order in which they are computed from now on."""
    seen: list[str] = []
    for name, node in network.nodes.items():
        node.register_forward_hook(lambda *_, name=name: seen.append(name))
    return seen


def test_parameters_are_those_of_the_slides():
    with torch.device("meta"):
        network = UNetPlusPlus()
    assert parameters(network) == 9_041_700
    assert {k: parameters(network.pruned(k)) for k in SLIDES} == SLIDES


@pytest.mark.parametrize("k", GFLOP_AT_512)
def test_cost_is_the_known_one(k):
    with torch.device("meta"):
        network = UNetPlusPlus()
    assert 2 * multiply_adds(network, k) * 512**2 / 1e9 == pytest.approx(GFLOP_AT_512[k], abs=0.06)


def test_cost_counts_what_is_computed():
    network, size = TINY[2], (32, 48)
    count = 0

    def add(module, inputs, output):
        nonlocal count
        kernel = module.weight.numel()
        grid = inputs[0] if isinstance(module, torch.nn.ConvTranspose2d) else output
        count += kernel * grid[0, 0].numel()

    pruned = network.pruned(3)
    for module in pruned.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.register_forward_hook(add)
    pruned(image(*size)[:1])
    assert multiply_adds(network, 3) * size[0] * size[1] == count


@pytest.mark.parametrize("dims", [2, 3])
def test_heads_have_the_size_of_the_input(dims):
    logits = TINY[dims](image(*(9, 16, 5)[:dims]))
    assert [tuple(x.shape) for x in logits] == [(2, 3, *(9, 16, 5)[:dims])] * 3


@pytest.mark.parametrize("dims", [2, 3])
@given(size=st.tuples(sizes, sizes, sizes), k=st.integers(1, 3))
@example(size=(1, 1, 1), k=3)
@example(size=(17, 9, 15), k=3)
def test_pruned_gives_the_same_logits(dims, size, k):
    network, x = TINY[dims], image(*size[:dims])
    (pruned,) = network.pruned(k)(x)
    torch.testing.assert_close(pruned, network(x)[k - 1], rtol=0, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
@given(size=st.tuples(sizes, sizes, sizes))
def test_folded_gives_the_same_logits(dims, size):
    network, x = TINY[dims], image(*size[:dims])
    for folded, plain in zip(network.folded()(x), network(x), strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)


def test_folded_has_no_norm_and_no_dropout_and_leaves_the_network_alone():
    network = tiny(dropout=0.5).train()
    before = copy.deepcopy(network.state_dict())
    folded = network.folded()
    kinds = {type(module) for module in folded.modules()}
    assert not kinds & {torch.nn.BatchNorm2d, torch.nn.Dropout}
    assert network.training
    assert not folded.training
    torch.testing.assert_close(dict(network.state_dict()), dict(before))


def test_pruning_and_folding_go_together():
    x = image(13, 22)
    (logits,) = TINY[2].pruned(2).folded()(x)
    torch.testing.assert_close(logits, TINY[2](x)[1], rtol=1e-4, atol=1e-4)
    (logits,) = TINY[2].folded().pruned(2)(x)
    torch.testing.assert_close(logits, TINY[2](x)[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pruned_holds_just_what_its_head_needs(k):
    small = TINY[2].pruned(k)
    wanted = {f"X_{i}_{j}" for i in range(4) for j in range(4) if i + j <= k}
    assert set(small.nodes) == wanted
    assert set(small.ups) == {name for name in wanted if not name.endswith("_0")}
    assert set(small.classifiers) == {f"L{k}"}
    assert small.supervised == (k,)
    assert small.depth == k


def test_a_pruned_network_is_a_copy():
    network = tiny()
    small = network.pruned(1).requires_grad_(True)
    for parameter in small.parameters():
        parameter.data.zero_()
    assert all(p.abs().sum() > 0 for p in network.nodes["X_0_0"][0].parameters())
    assert set(network.nodes) > set(small.nodes)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_network_cut_to_a_depth_gives_the_same_logits(k):
    x = image(13, 22)
    small = TINY[2].up_to(k)
    torch.testing.assert_close(small(x), TINY[2](x)[:k], rtol=0, atol=0)
    assert set(small.nodes) == {f"X_{i}_{j}" for i in range(4) for j in range(4) if i + j <= k}
    assert small.depth == k
    assert small.supervised == tuple(range(1, k + 1))
    assert small.widths == WIDTHS[: k + 1]
    assert small.nodes["X_0_0"] is not TINY[2].nodes["X_0_0"]


@pytest.mark.parametrize("k", [0, 4])
def test_a_network_is_cut_at_one_of_its_heads(k):
    with pytest.raises(ValueError, match=f"no head L{k}"):
        TINY[2].up_to(k)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("classes", [3, 5])
def test_more_classes_leave_those_that_there_are(dims, classes):
    x = image(*(9, 16, 5)[:dims])
    wider = TINY[dims].with_classes(classes)
    for new, old in zip(wider(x), TINY[dims](x), strict=True):
        assert new.shape[1] == wider.classes == classes
        torch.testing.assert_close(new[:, :3], old, rtol=1e-4, atol=1e-5)
        assert not (new[:, 3:] > 0).any()  # nothing is found of what wasn't learnt
    assert TINY[dims].classes == 3


def test_new_classes_can_be_learnt():
    wider = tiny().with_classes(2).requires_grad_(True)
    sum(logits.sum() for logits in wider(image(8, 12, channels=1))).backward()
    assert all(head.weight.grad[1].abs().sum() > 0 for head in wider.classifiers.values())


def test_classes_are_not_taken_away():
    with pytest.raises(ValueError, match="has 3 classes"):
        TINY[2].with_classes(2)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_heads_come_as_soon_as_they_can(depth):
    network = copy.deepcopy(TINY[2])
    seen = computed_nodes(network)
    for k, _ in enumerate(network.heads(image(16, 24), depth), start=1):
        assert len(seen) == (k + 1) * (k + 2) // 2  # the nodes i + j <= k and not one more
    assert k == depth
    assert len(set(seen)) == len(seen)


def test_depth_gives_the_first_heads():
    x = image(16, 24)
    torch.testing.assert_close(TINY[2](x, 2), TINY[2](x)[:2], rtol=0, atol=0)


def test_heads_can_be_chosen():
    network = tiny(heads=(1, 3))
    assert len(network(image(16, 24, channels=1))) == 2
    assert len(network(image(16, 24, channels=1), 2)) == 1
    with pytest.raises(ValueError, match="no head L2"):
        network.pruned(2)


def test_a_constant_channel_count_is_no_rule():
    network = UNetPlusPlus(in_channels=5, classes=2, widths=(3, 9, 2), norm=None)
    assert [tuple(x.shape) for x in network(image(7, 11, channels=5))] == [(2, 2, 7, 11)] * 2


def test_bias_only_where_no_norm_follows():
    assert ConvBlock(1, 2, Units(dims=2, norm="batch"))[0].bias is None
    assert ConvBlock(1, 2, Units(dims=2, norm=None))[0].bias is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dims": 4}, "dims is 4"),
        ({"widths": (8,)}, "two or more"),
        ({"widths": ()}, "two or more"),
        ({"widths": (8, 0)}, "positive"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"classes": 0}, "classes 0"),
        ({"norm": "layer"}, "norm is 'layer'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"heads": (0,)}, "from 1 to the depth, 3"),
        ({"heads": ()}, "from 1 to the depth, 3"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        UNetPlusPlus(**{"widths": WIDTHS, **arguments})


@pytest.mark.parametrize("depth", [0, -1, 4])
def test_a_depth_that_is_not_there_is_refused(depth):
    with pytest.raises(ValueError, match=f"no depth {depth}"):
        TINY[2].heads(image(8, 8), depth)


@pytest.mark.parametrize("shape", [(1, 1, 8, 12), (1, 2, 8), (1, 2, 4, 8, 12)])
def test_an_input_of_another_form_is_refused(shape):
    with pytest.raises(ValueError, match="2 channels"):
        TINY[2](torch.zeros(shape))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("dims", "shape"), [(2, (75, 40)), (3, (43, 12, 18))])
def test_strips_make_no_difference(monkeypatch, dims, shape, last):
    torch.manual_seed(0)
    network = UNetPlusPlus(widths=(3, 4, 5), dims=dims, norm="batch").eval().double()
    x = torch.randn(2, 1, *shape, dtype=torch.float64)
    if last:
        kind = torch.channels_last if dims == 2 else torch.channels_last_3d
        network, x = network.to(memory_format=kind), x.to(memory_format=kind)
    with torch.inference_mode():
        whole = network(x)
        monkeypatch.setattr("napari_unetpp.network.strips.STRIP", 16)
        for one, other in zip(whole, network(x), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
