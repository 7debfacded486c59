"""ONNX: written so that old runtimes read it, and run with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unetpp.errors import UserError
from napari_unetpp.export.graph import INPUT, OUTPUT
from napari_unetpp.export.packages import quiet

OPSET = 18
"""Version of ONNX's operations: what adds up a histogram came with 16."""
IR_VERSION = 8
"""Version of the file, the one of OPSET: onnxruntime 1.14 of 2023 and newer can read it."""


def to_onnx(program: torch.export.ExportedProgram, axes: str, about: str) -> bytes:
    """An ONNX file.

    Parameters
    ----------
    program : ExportedProgram
        From `traced`.
    axes : str
        The spatial axes, like "YX".
    about : str
        JSON that goes into the metadata, under "napari_unetpp".
    """
    import onnx
    import onnxscript.optimizer

    with quiet():
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
        assert exported is not None
        proto = exported.model_proto
    proto.ir_version = IR_VERSION
    _slice_rather_than_gather(proto.graph)
    onnxscript.optimizer.remove_unused_nodes(proto)
    names = ("batch", "channel", *axes.lower())
    for tensor in (*proto.graph.input, *proto.graph.output):
        for name, length in zip(names, tensor.type.tensor_type.shape.dim, strict=True):
            if length.dim_param:
                length.dim_param = name
    onnx.helper.set_model_props(proto, {"napari_unetpp": about})
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


class OnnxRun:
    """An ONNX file, loaded into onnxruntime on the CPU."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, image: NDArray[np.float32]) -> NDArray[Any]:
        """Probabilities ``(classes, *spatial)`` of ``(c, *spatial)``.

        Raises
        ------
        UserError
            If onnxruntime can't run the graph for this size.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            found: NDArray[Any] = self._session.run([OUTPUT], {INPUT: image[None]})[0]
        except (state.Fail, state.InvalidArgument, state.RuntimeException) as error:
            raise UserError(
                f"onnxruntime can't run the exported file for an image of {image.shape[1:]} "
                f"pixels, so it isn't written ({error}): take the format torch-export."
            ) from error
        return np.asarray(found[0])


def _slice_rather_than_gather(graph: Any) -> None:
    """Slice where pixels 0 … n - 1 are picked by their numbers (see `network.blocks.crop_to`).

    It is the same, and takes a fraction of the time.
    """
    from onnx import helper, numpy_helper

    made_by = {name: node for node in graph.node for name in node.output}
    nodes = []
    for node in graph.node:
        count = _count(node, made_by)
        if count is None:
            nodes.append(node)
            continue
        axis = next(a.i for a in node.attribute if a.name == "axis")
        start, end, axes = (f"{node.output[0]}_{part}" for part in ("start", "end", "axes"))
        for name, value in ((start, 0), (axes, axis), (f"{end}_form", -1)):
            graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
        nodes.append(helper.make_node("Reshape", [count, f"{end}_form"], [end]))
        nodes.append(helper.make_node("Slice", [node.input[0], start, end, axes], node.output))
    del graph.node[:]
    graph.node.extend(nodes)


def _count(node: Any, made_by: dict[str, Any]) -> str | None:
    """The name of `n` if a node picks pixels 0 … n - 1."""
    if node.op_type != "Gather":
        return None
    numbers = made_by.get(node.input[1])
    if numbers is not None and numbers.op_type == "Reshape":
        numbers = made_by.get(numbers.input[0])
    return numbers.input[1] if numbers is not None and numbers.op_type == "Range" else None
