"""A quantised graph, run by OpenVINO on the CPU in place of the torch network."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_unetpp.models.spec import ModelSpec

COMPILED = 2
"""Graphs that are kept: of the first head alone, and of the others. Each holds its tensors."""


class Int8Error(RuntimeError):
    """OpenVINO can't read, compile or run a graph; says why."""


class Int8Network:
    """The heads of a model from its quantised graph, as `UNetPlusPlus` gives them.

    The first head comes from a graph of its own, early; the others come together from a second
    one, which computes the first nodes again: an eighth of its time.

    Parameters
    ----------
    file : Path
        From `quantised.quantise`.
    spec : ModelSpec
        Of the model.
    """

    def __init__(self, file: Path, spec: ModelSpec) -> None:
        self.dims = spec.dims
        self._file, self._heads, self._stride = file, spec.heads, 2**spec.depth
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = threading.Lock()  # two viewers may run the same model

    def heads(self, x: Tensor, depth: int | None = None) -> Iterator[Tensor]:
        """Yield the logits of the heads up to `depth`, the shallowest first.

        Parameters
        ----------
        x : Tensor
            Shape ``(1, in_channels, *spatial)``, float32, on the CPU; any spatial size.
        depth : int, optional
            The last head wanted.

        Raises
        ------
        Int8Error
            If OpenVINO can't read, compile or run the graph.
        """
        wanted = tuple(k for k in self._heads if depth is None or k <= depth)
        padded = self._padded(x)
        part = (slice(None), slice(None), *(slice(0, n) for n in x.shape[2:]))
        for heads in (wanted[:1], wanted[1:]):
            if heads:
                yield from (logits[part] for logits in self._run(heads, padded))

    def _run(self, heads: tuple[int, ...], x: np.ndarray[Any, Any]) -> list[Tensor]:
        with self._lock:
            try:
                found = self._request(heads).infer([x], share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise Int8Error(str(error) or "it gives no reason") from error
            return [torch.from_numpy(np.array(values)) for values in found.values()]

    def _request(self, heads: tuple[int, ...]) -> Any:
        """What runs these heads; compiled if it isn't yet."""
        if heads in self._requests:
            self._requests.move_to_end(heads)
            return self._requests[heads]
        while len(self._requests) >= COMPILED:
            self._requests.popitem(last=False)
        self._requests[heads] = _compiled(self._file, [self._heads.index(k) for k in heads])
        return self._requests[heads]

    def _padded(self, x: Tensor) -> np.ndarray[Any, Any]:
        """The sides brought to the stride of the network, so that the graph has nothing to cut."""
        missing = [(0, 0), (0, 0), *((0, -side % self._stride) for side in x.shape[2:])]
        return np.ascontiguousarray(np.pad(x.numpy(), missing, mode="symmetric"))


def _compiled(file: Path, outputs: list[int]) -> Any:
    """Some outputs of a graph, with what they need and as many threads as torch has."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(file)
    results = graph.get_results()
    part = openvino.Model([results[n] for n in outputs], graph.get_parameters())
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(part, "CPU", settings).create_infer_request()
