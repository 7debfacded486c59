"""Keeps a second LLVM out of a process in which napari draws with one."""

from __future__ import annotations

import ctypes
import platform
import sys


def keep_triton_out() -> None:
    """Let `import triton` fail where it would end the process.

    Mesa, which draws with Intel's and AMD's cards and where there is none, lets all of the process
    see the functions of its LLVM (22.3 does, that of Debian 12). torch's builds for CUDA bring
    triton, which from its version 3.7 on calls Mesa's functions instead of its own of the same
    names (as in tensorflow's issue 124205): a segmentation fault. torch imports it if it is there
    when something is compiled, and does without it otherwise.
    """
    if platform.system() == "Linux" and hasattr(ctypes.CDLL(None), "LLVMContextCreate"):
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
