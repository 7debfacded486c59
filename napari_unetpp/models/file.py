"""One model, one `.safetensors` file: weights, with the spec as JSON in the metadata.

There is no pickle and no code in it, so a file from a stranger can do no more than be refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.models.header import DIGEST_KEY, SPEC_KEY, parse_spec
from napari_unetpp.models.spec import FORMAT, ModelSpec
from napari_unetpp.network import UNetPlusPlus


@dataclass(frozen=True)
class Model:
    """A network with its spec.

    Attributes
    ----------
    network : UNetPlusPlus
        On the CPU, float32, in evaluation mode. Nobody changes it in place.
    spec : ModelSpec
        What the file says about it.
    digest : str
        SHA-256 of spec and weights: the identity of this very model.
    """

    network: UNetPlusPlus
    spec: ModelSpec
    digest: str


def build_network(spec: ModelSpec) -> UNetPlusPlus:
    """A network of the form that `spec` describes, with fresh weights."""
    return UNetPlusPlus(
        spec.in_channels,
        len(spec.classes),
        spec.widths,
        spec.dims,
        norm=spec.norm,
        heads=spec.heads,
        architecture=spec.architecture,
    )


def save_model(
    network: UNetPlusPlus, spec: ModelSpec, path: Path, *, half: bool = False, new: bool = False
) -> Model:
    """Write a model file in one step: a save that is killed leaves the old file as it was.

    Parameters
    ----------
    network : UNetPlusPlus
        With all its heads.
    spec : ModelSpec
        Must describe `network`.
    path : Path
        The file, replaced if it exists. The folder is made.
    half : bool
        Keep the weights in 16 bits: half the file, and a relative rounding of 5e-4.
    new : bool
        Never replace a file.

    Returns
    -------
    Model
        What `read_model` would give, before the rounding of `half`.

    Raises
    ------
    FileExistsError
        If the file exists and has to be new.
    UserError
        If the file can't be written.
    """
    tensors = {
        key: (value.half() if half and value.ndim > 1 else value).detach().cpu().contiguous()
        for key, value in network.state_dict().items()
    }
    spec = spec.model_copy(update={"format": FORMAT})
    spec_json = spec.model_dump_json()
    digest = _digest(spec_json, tensors)
    content = save(tensors, metadata={SPEC_KEY: spec_json, DIGEST_KEY: digest})
    write_atomically(path, content, new=new)
    return Model(network, spec, digest)


def read_model(path: Path) -> Model:
    """Read and check a model file.

    Raises
    ------
    UserError
        If the file is missing, truncated, no model of this project's, made by a newer version,
        or changed since it was written.
    """
    if not path.is_file():
        raise UserError(f"There is no model file {path}: check the name.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies, as the tensors would keep the file mapped: Windows can't replace or remove it.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path.name} can't be read as a model: it is truncated or not a .safetensors file "
            f"({error}). Get the file again."
        ) from error
    spec = parse_spec(path, metadata)
    if _digest(metadata[SPEC_KEY], tensors) != metadata.get(DIGEST_KEY):
        raise UserError(
            f"{path.name} was changed after it was saved (its checksum doesn't match), so it is "
            "not used: get the file again."
        )
    return Model(_network_of(path, spec, tensors), spec, metadata[DIGEST_KEY])


def _network_of(path: Path, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> UNetPlusPlus:
    with torch.device("meta"):  # shapes are compared before any memory is taken
        network = build_network(spec)
    if _forms(network.state_dict()) != _forms(tensors):
        raise UserError(
            f"The weights in {path.name} don't fit the network that it describes, so it is not "
            "used: get the file again."
        )
    floats = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
    if not all(bool(torch.isfinite(t).all()) for t in floats.values()):
        raise UserError(
            f"{path.name} holds weights that are not numbers, so it is not used: train it again."
        )
    network.load_state_dict(floats, assign=True)
    return network.requires_grad_(False).eval()


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, bool]]:
    """Shapes, and whether the numbers are real: weights may be of any precision."""
    return {key: (value.shape, value.is_floating_point()) for key, value in tensors.items()}


def _digest(spec_json: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(spec_json.encode())
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
