"""PyTorch's own format for graphs: a zip with the graph as JSON and the weights as plain bytes."""

from __future__ import annotations

import io

import torch
from torch import nn

from napari_unetpp.export.packages import quiet

ABOUT = "napari_unetpp.json"
"""The file in the zip that says what it is."""


def to_torch_export(program: torch.export.ExportedProgram, about: str) -> bytes:
    """A .pt2 file.

    Parameters
    ----------
    program : ExportedProgram
        From `traced`. Its example is taken away, as it is all that would be pickled.
    about : str
        JSON that goes into the file too.
    """
    program.example_inputs = None
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer, extra_files={ABOUT: about})
    return buffer.getvalue()


def load_torch_export(content: bytes) -> nn.Module:
    """The graph in a .pt2 file that `to_torch_export` made just now.

    Not for files of others: what torch loads may be pickled in those.
    """
    with quiet():
        module: nn.Module = torch.export.load(io.BytesIO(content)).module()
    return module
