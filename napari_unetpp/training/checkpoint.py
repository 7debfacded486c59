"""The state of a training run on disk, so that a killed run goes on where it was. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError

KEY = "napari_unetpp_training"


def save_checkpoint(
    path: Path,
    modules: dict[str, nn.Module],
    optimizer: optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """Write modules, optimizer and progress (plain JSON values) in one atomic step."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_atomically(path, save(plain, metadata={KEY: json.dumps(progress)}))


def load_checkpoint(
    path: Path, modules: dict[str, nn.Module], optimizer: optim.Optimizer
) -> dict[str, Any]:
    """Put a saved state back into modules and optimizer; gives the progress.

    Raises
    ------
    UserError
        If the file is damaged, or of a network of another form.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads((file.metadata() or {})[KEY])
            # Copies, as the optimizer would keep the file mapped: Windows couldn't replace it.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        for name, module in modules.items():
            module.load_state_dict(_under(tensors, name))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, "optimizer").items():
            index, entry = key.split("/")
            state.setdefault(int(index), {})[entry] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The training can't go on from {path}: it is damaged or of another network. Remove "
            "it to start anew."
        ) from error
    assert isinstance(progress, dict)
    return progress


def _under(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
