"""Keeps a second LLVM out of a process in which napari draws with one."""

from __future__ import annotations

import ctypes
import logging
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version

logger = logging.getLogger(__name__)

ENDS_THE_PROCESS = (3, 7)
"""Of triton, the first version that does; 3.6 doesn't, 3.8 does."""


def keep_triton_out() -> None:
    """Let `import triton` fail where it would end the process.

    Mesa, which draws with Intel's and AMD's cards and where there is none, lets all of the process
    see the functions of its LLVM (22.3 does, that of Debian 12). torch's builds for CUDA bring
    triton, which calls Mesa's functions instead of its own of the same names (as in tensorflow's
    issue 124205): a segmentation fault. torch imports it if it is there when something is
    compiled, and does without it otherwise.
    """
    if platform.system() != "Linux" or not hasattr(ctypes.CDLL(None), "LLVMContextCreate"):
        return
    if "triton" not in sys.modules and _triton() >= ENDS_THE_PROCESS:
        sys.modules["triton"] = None  # type: ignore[assignment]
        logger.info("triton is kept out of this process: it would end beside the LLVM that draws.")


def _triton() -> tuple[int, ...]:
    """Its version; empty if it isn't installed."""
    try:
        numbers = re.match(r"(\d+)\.(\d+)", version("triton"))
    except PackageNotFoundError:
        return ()
    return tuple(map(int, numbers.groups())) if numbers else ()
