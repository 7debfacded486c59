"""The description inside a model file, read without torch and without the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from napari_unetpp.errors import UserError
from napari_unetpp.models.spec import FORMAT, ModelSpec

SUFFIX = ".safetensors"
SPEC_KEY = "napari_unetpp"
DIGEST_KEY = "sha256"


def read_spec(path: Path) -> ModelSpec:
    """The spec alone, quickly: the weights are neither read nor checked.

    Raises
    ------
    UserError
        If the file is missing, damaged, no model of this project's, or made by a newer version.
    """
    return parse_spec(path, _read_metadata(path))


def read_digest(path: Path) -> str:
    """The SHA-256 that a model file gives for itself; not checked against the weights.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    return _read_metadata(path).get(DIGEST_KEY, "")


def parse_spec(path: Path, metadata: Mapping[str, str]) -> ModelSpec:
    """The spec from a file's metadata; `path` is for the sentences.

    Raises
    ------
    UserError
        As `read_spec`.
    """
    if SPEC_KEY not in metadata:
        raise UserError(
            f"{path.name} holds weights, but not a model of napari-unetpp: only files that "
            "napari-unetpp saved can be used."
        )
    try:
        raw = json.loads(metadata[SPEC_KEY])
        version = raw.get("format") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise UserError(
                f"{path.name} was saved by a newer napari-unetpp (file format {version}, this "
                f"one reads up to {FORMAT}): update napari-unetpp."
            )
        return ModelSpec.model_validate(raw)
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            f"The description inside {path.name} is damaged, so it is not used: get the file again."
        ) from error


def _read_metadata(path: Path) -> Mapping[str, str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path.name} can't be read as a model ({error}).") from error
