"""The optional packages of the engine in int8: OpenVINO runs the network, NNCF quantises it."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

from napari_unetpp.errors import UserError

OPENVINO = "openvino"
"""The name of the device."""
PACKAGES = ("openvino", "nncf")


def require_openvino() -> None:
    """Refuse to go on without the packages; loads nothing.

    Raises
    ------
    UserError
        If one isn't installed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"The device openvino needs {' and '.join(missing)}, which can't be found: "
            'pip install "napari-unetpp[openvino]", or choose auto.'
        )


def versions() -> str:
    """Those of the packages, as a part of a file's name."""
    return "-".join(version(name) for name in PACKAGES)
