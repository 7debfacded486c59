"""UNet++ and its family: the grid of nodes `X[i][j]`, its heads, and its pruned forms."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from napari_unetpp.network.architecture import UNETPP, Architecture, Place, Step, schedule
from napari_unetpp.network.blocks import BLOCKS, LAYER_KINDS, Norm, Units, folded, head
from napari_unetpp.network.sampling import DOWN, UP
from napari_unetpp.network.strips import Reach, joined


class UNetPlusPlus(nn.Module):
    """Nested U-Net with deep supervision (Zhou et al., 2018, figure 1).

    Row `i` is the number of down-samplings, column `j` the place along the skip. `X[i][0]` is the
    encoder; `X[i][j]` takes the up-sampled `X[i+1][j-1]` and all of `X[i][0] … X[i][j-1]`. Head
    `Lk` reads `X[0][k]` and needs just the nodes with `i + j <= k`, hence it is a network of its
    own inside every deeper one.

    With the defaults the parameters are those of the authors' slides: pruned to one head,
    100 961 (L1), 511 105 (L2), 2 204 961 (L3) and 9 041 601 (L4).

    Other networks of the family, U-Net among them, are the same grid with another `architecture`.

    Parameters
    ----------
    in_channels : int
        Channels of the input.
    classes : int
        Logits of each pixel. Classes are independent (sigmoid), as in the paper.
    widths : sequence of int
        Channels of the rows, the first at full size. The depth is ``len(widths) - 1``.
    dims : {2, 3}
        Number of spatial axes.
    norm : {None, "batch"}
        Normalisation after the convolutions. The paper has none.
    dropout : float
        Probability of dropout after each ReLU, in [0, 1). The authors' code has 0.5.
    heads : sequence of int, optional
        Which heads there are, each from 1 to the depth. By default all that there can be: with
        U-Net's skips the deepest alone.
    architecture : Architecture
        Which nodes there are, what they read, and what they are made of.

    Raises
    ------
    ValueError
        If an argument is outside what is said above.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        dims: int = 2,
        *,
        norm: Norm = None,
        dropout: float = 0.0,
        heads: Sequence[int] | None = None,
        architecture: Architecture = UNETPP,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.classes = classes
        self.widths = tuple(widths)
        self.dims = dims
        self.norm: Norm = norm
        self.dropout = dropout
        self.architecture = architecture
        self._validate(heads)
        self.supervised = architecture.heads(self.depth, heads)

        self.downs = nn.ModuleDict()
        self.nodes = nn.ModuleDict()
        self.ups = nn.ModuleDict()
        for step in schedule(architecture, self.depth):
            self._add(step)
        self.classifiers = nn.ModuleDict(
            {f"L{k}": head(widths[0], classes, dims=dims) for k in self.supervised}
        )
        self.apply(_initialise)

    def _add(self, step: Step) -> None:
        """Make the modules of a node."""
        (i, j), kinds, place = step.place, self.architecture, name(*step.place)
        units = Units(
            dims=self.dims,
            norm=self.norm,
            dropout=self.dropout,
            dilation=kinds.dilation(i),
            groups=kinds.groups,
        )
        width, inputs = self.widths[i], self.in_channels
        if j > 0:
            self.ups[place] = UP[kinds.up](self.widths[i + 1], width, self.dims)
            inputs = (1 + len(step.skips)) * width
        elif i > 0:
            inputs = self.widths[i - 1]
            self.downs[place] = DOWN[kinds.down](inputs, units)
        self.nodes[place] = BLOCKS[kinds.block_in(j)](inputs, width, units)

    @property
    def depth(self) -> int:
        """Number of down-samplings of the deepest head."""
        return len(self.widths) - 1

    def forward(self, x: Tensor, depth: int | None = None) -> list[Tensor]:
        """Logits of the heads up to `depth`, the shallowest first; see `heads`."""
        return list(self.heads(x, depth))

    def heads(self, x: Tensor, depth: int | None = None) -> Iterator[Tensor]:
        """Yield the logits of L1, L2, …, each as soon as it is computed.

        The nodes are computed along the anti-diagonals ``i + j = 0, 1, 2, …``, so a head comes as
        early as its pruned network alone would give it, and no node is computed twice.

        Parameters
        ----------
        x : Tensor
            Shape ``(b, in_channels, *spatial)``, floating point; any spatial size.
        depth : int, optional
            The last head wanted, 1 to `self.depth`. By default the deepest.

        Returns
        -------
        iterator of Tensor
            Logits of shape ``(b, classes, *spatial)``, one tensor a head.

        Raises
        ------
        ValueError
            If `x` has another number of axes or channels, or if there is no head up to `depth`.
        """
        depth = self.depth if depth is None else depth
        if x.ndim != self.dims + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"The input has shape {tuple(x.shape)}; this network takes (batch, "
                f"{self.in_channels} channels, {self.dims} spatial axes)."
            )
        if not min(self.supervised) <= depth <= self.depth:
            raise ValueError(
                f"There is no depth {depth} in this network: choose one of {self.supervised}."
            )
        return self._heads(x, depth)

    def _heads(self, x: Tensor, depth: int) -> Iterator[Tensor]:
        nodes: dict[Place, Tensor] = {}  # X[i][j], as long as others read it
        sizes: list[torch.Size] = []  # of the rows
        deepest = max(head for head in self.supervised if head <= depth)
        for step in schedule(self.architecture, deepest):
            i, j = step.place
            nodes[step.place] = self._node(step, x, nodes, sizes)
            for place in step.last:
                del nodes[place]
            if i == 0 and j in self.supervised:
                yield self.classifiers[f"L{j}"](nodes[step.place])

    def _node(
        self, step: Step, x: Tensor, nodes: Mapping[Place, Tensor], sizes: list[torch.Size]
    ) -> Tensor:
        (i, j), place = step.place, name(*step.place)
        if step.source is None or j == 0:
            encoded = x if step.source is None else self.downs[place](nodes[step.source])
            sizes.append(encoded.shape[2:])
            found: Tensor = self.nodes[place](encoded)
            return found
        return joined(
            self.nodes[place],
            self.ups[place],
            nodes[step.source],
            [nodes[skip] for skip in step.skips],
            size=sizes[i],
            reach=Reach.of(self.architecture, i),
            guide=None if step.guide is None else nodes[step.guide],
        )

    def pruned(self, k: int) -> UNetPlusPlus:
        """A copy with only what head `k` needs: the nodes ``i + j <= k`` and that one head.

        It gives the same logits as head `k` here, in a list of one (Zhou et al., 2018,
        section 2.2, "fast mode").

        Raises
        ------
        ValueError
            If this network has no head `k`.
        """
        return self._part(k, (k,))

    def up_to(self, k: int) -> UNetPlusPlus:
        """A copy with the heads up to `k` and the nodes that these need, ``i + j <= k``.

        Raises
        ------
        ValueError
            If this network has no head `k`.
        """
        return self._part(k, tuple(head for head in self.supervised if head <= k))

    def with_classes(self, classes: int) -> UNetPlusPlus:
        """A copy for more classes: the body and the classes that there are stay as they are.

        The weights of the others are 0, so that nothing is found of them before they are learnt.

        Raises
        ------
        ValueError
            If there would be fewer classes than now.
        """
        if classes < self.classes:
            raise ValueError(f"The network has {self.classes} classes; give as many or more.")
        wider = copy.deepcopy(self)
        wider.classes = classes
        for key, old in self.classifiers.items():
            new = head(self.widths[0], classes, dims=self.dims)
            with torch.no_grad():
                for part, values in old.named_parameters():
                    new.get_parameter(part).zero_()[: self.classes] = values
            wider.classifiers[key] = new
        return wider

    def folded(self) -> UNetPlusPlus:
        """A copy for inference, in evaluation mode, with the batch norms in the weights."""
        plain = copy.deepcopy(self).eval()
        for modules in (plain.nodes, plain.downs):
            for place, module in modules.items():
                modules[place] = folded(module)
        plain.norm, plain.dropout = None, 0.0
        return plain

    def _part(self, k: int, heads: tuple[int, ...]) -> UNetPlusPlus:
        if k not in self.supervised:
            raise ValueError(f"There is no head L{k} to prune to: choose one of {self.supervised}.")
        small = copy.copy(self)  # shallow: the modules are replaced below, before the deep copy
        small.widths = self.widths[: k + 1]
        small.supervised = heads
        kept = {name(*step.place) for step in schedule(self.architecture, k)}
        small._modules = dict(self._modules)
        for part in ("downs", "nodes", "ups"):
            modules = self._modules[part]
            assert isinstance(modules, nn.ModuleDict)
            small._modules[part] = nn.ModuleDict({n: m for n, m in modules.items() if n in kept})
        small.classifiers = nn.ModuleDict({f"L{h}": self.classifiers[f"L{h}"] for h in heads})
        return copy.deepcopy(small)

    def _validate(self, heads: Sequence[int] | None) -> None:
        if self.dims not in LAYER_KINDS:
            raise ValueError(f"dims is {self.dims}; a network is 2D or 3D: give 2 or 3.")
        if self.depth < 1 or min(self.widths) < 1:
            raise ValueError(
                f"widths is {self.widths}; give two or more positive numbers, the first for the "
                "full size."
            )
        if self.in_channels < 1 or self.classes < 1:
            raise ValueError(
                f"in_channels is {self.in_channels} and classes {self.classes}; both must be 1 "
                "or more."
            )
        if self.norm not in (None, "batch"):
            raise ValueError(f"norm is {self.norm!r}; give None or 'batch'.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; give a probability from 0 to below 1.")
        self.architecture.check(self.widths, heads)


def name(i: int, j: int) -> str:
    """The name of node ``X[i][j]`` in the state dictionary."""
    return f"X_{i}_{j}"


def _initialise(module: nn.Module) -> None:
    """He initialisation, as in the authors' code, with zero biases."""
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    # On the meta device there are no values, but torch would import all of its compiler.
    if isinstance(module, kinds) and not module.weight.is_meta:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
