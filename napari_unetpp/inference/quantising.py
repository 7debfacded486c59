"""The process that quantises: `python -m napari_unetpp.inference.quantising FOLDER`.

NNCF takes half a minute and much memory, and would hold up the window: as a process it can be
ended at any time, and gives its memory back. It ends when its standard input does: whoever started
it is gone then.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_unetpp.network import UNetPlusPlus

MODEL, PATCHES, GRAPH = "model.safetensors", "patches.npy", "graph.xml"
"""Files in the folder: two that have to be there, and the one that is made (with a .bin)."""
NICENESS = 5
"""The window comes first."""
LARGEST_ERROR = 0.01
"""Of a probability, by the graph before it is quantised: larger ones tell that it is another."""


def main() -> None:
    """Quantise the model in the folder."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)

    import nncf  # noqa: F401  # with all that it loads

    # Not before: on Windows OpenBLAS, of numpy and scipy, looks at the standard input when it is
    # loaded, and would wait until the thread has read from it, which is never.
    threading.Thread(target=_end_with_input, daemon=True).start()
    write_quantised(Path(sys.argv[1]))


def write_quantised(folder: Path) -> None:
    """Write the graph of a model in int8, calibrated on patches.

    Parameters
    ----------
    folder : Path
        Holds a model and patches ``(n, c, *spatial)``, their sides multiples of its stride.

    Raises
    ------
    RuntimeError
        If the network can't be made a graph that gives the same.
    """
    import openvino

    from napari_unetpp.models.file import read_model

    network = read_model(folder / MODEL).network
    patches: NDArray[np.float32] = np.load(folder / PATCHES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = converted(network)
        _check(graph, network, patches[:1])
        graph = in_int8(graph, patches)
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)


def converted(network: UNetPlusPlus) -> Any:
    """The graph of a network: a batch of one of any size in, the logits of all its heads out.

    The sides of what goes in are multiples of ``2**depth``.
    """
    import openvino
    import torch

    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network.folded().float().requires_grad_(False)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.network(x))

    # A small example, so that the network doesn't work in strips; of sides that aren't alike.
    stride = 2**network.depth
    sides = [stride * n for n in (2, 3, 4)[: network.dims]]
    example = torch.zeros(1, network.in_channels, *sides)
    graph = openvino.convert_model(Heads().eval(), example_input=example)
    graph.reshape([1, network.in_channels, *[-1] * network.dims])
    return graph


def in_int8(graph: Any, patches: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Any:
    """A graph of `converted` in int8, calibrated on patches ``(c, *spatial)``.

    The first layer sees the intensities themselves: in int8 it alone costs most of what is lost in
    IoU, and it takes hardly any time, so it is spared.
    """
    import nncf

    data = nncf.Dataset([patch[None] for patch in patches])
    spared = nncf.IgnoredScope(names=[_first_layer(graph)])
    return nncf.quantize(graph, data, subset_size=len(patches), ignored_scope=spared)


def _first_layer(graph: Any) -> str:
    operations = graph.get_ordered_ops()
    return next(
        str(each.get_friendly_name())
        for each in operations
        if each.get_type_name() in ("Convolution", "GroupConvolution")
    )


def _check(graph: Any, network: UNetPlusPlus, patch: NDArray[np.float32]) -> None:
    """Refuse a graph that is tied to the example that it was traced with."""
    import openvino
    import torch

    exactly = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(graph, "CPU", exactly)([patch])
    with torch.inference_mode():
        for values, logits in zip(found.values(), network(torch.from_numpy(patch)), strict=True):
            error = (torch.from_numpy(values).sigmoid() - logits.sigmoid()).abs().max()
            if not float(error) <= LARGEST_ERROR:
                raise RuntimeError(f"the graph's probabilities are off by {float(error):.2g}")


def _end_with_input() -> None:
    while io.FileIO(0, closefd=False).read(1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
