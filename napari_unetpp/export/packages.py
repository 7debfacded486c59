"""The optional packages that write and run what is exported."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from napari_unetpp.errors import UserError


def require(*names: str) -> None:
    """Refuse to go on without these packages.

    Raises
    ------
    UserError
        If one can't be imported.
    """
    for name in names:
        try:
            with quiet():
                import_module(name)
        except ImportError as error:
            raise UserError(
                f"{name} is needed for this format and can't be imported ({error}): "
                'pip install "napari-unetpp[export]".'
            ) from error


def is_there(name: str) -> bool:
    """Whether a package is installed."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what exporters log and warn of from the user, who can do nothing about it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
