"""Where the network runs, how precisely, and why, in words."""

from __future__ import annotations

import ctypes
import platform
import re
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch

from napari_unetpp.errors import UserError
from napari_unetpp.inference.openvino_packages import OPENVINO, require_openvino
from napari_unetpp.network import UNetPlusPlus

DEVICE_NAMES = ("auto", "cuda", "mps", "cpu", OPENVINO)
OUT_OF_MEMORY = (
    "out of memory",  # GPU
    "can't allocate memory",  # POSIX
    "not enough memory",  # Windows
    "STATUS_ALLOC_FAILED",  # of cuBLAS and cuDNN, as the next
    "CUDNN_STATUS_NOT_INITIALIZED",
)
"""Words of torch by which it is told, on any device."""
_ALONE = threading.RLock()


@dataclass(frozen=True)
class Device:
    """A device with the precision that is fastest on it without harm.

    Attributes
    ----------
    kind : {"cuda", "mps", "cpu"}
        As torch calls it.
    dtype : torch.dtype
        Of weights and activations: bfloat16 where the hardware has it, else float32.
    label : str
        For the dock and the progress bar, like "CPU, bf16".
    reason : str
        One sentence: why this device and this precision.
    engine : {"torch", "openvino"}
        What runs the network: OpenVINO takes float32, and computes in int8.
    """

    kind: str
    dtype: torch.dtype
    label: str
    reason: str
    engine: Literal["torch", "openvino"] = "torch"


def choose_device(wanted: str = "auto") -> Device:
    """The device asked for; "auto" takes CUDA, then MPS, then the CPU; never "openvino".

    Raises
    ------
    UserError
        If the device is unknown or not on this computer, or needs packages that are missing.
    """
    if wanted not in DEVICE_NAMES:
        raise UserError(f"The device {wanted!r} is unknown: use one of {', '.join(DEVICE_NAMES)}.")
    if wanted == OPENVINO:
        return _openvino()
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available() and _has_kernels()):
        return _cuda()
    if wanted == "mps" or (wanted == "auto" and torch.backends.mps.is_available()):
        return _mps()
    return _cpu("because it was asked for" if wanted == "cpu" else _no_gpu())


def torch_device(wanted: str = "auto") -> Device:
    """As `choose_device`, for what OpenVINO can't do, like learning: for it, what "auto" takes.

    Raises
    ------
    UserError
        As for `choose_device`.
    """
    if wanted != OPENVINO:
        return choose_device(wanted)
    device = choose_device()
    return replace(device, reason=f"OpenVINO can't do this; {device.reason}")


def prepared(network: UNetPlusPlus, device: Device) -> UNetPlusPlus:
    """A copy of a network made fast for inference on a device.

    Batch norms are folded into the convolutions, weights take the device's precision, and the
    memory is laid out channels last: with the allocator's setting 1.4 (L4) to 2.2 times (L1) the
    speed of the plain network on a CPU in fp32, on another machine 2.5 to 4.6 times, and 1.9 to 2.0
    times that in bf16, as measured by `benchmarks/`.
    """
    fast = network.folded().requires_grad_(False)
    fast = fast.to(device=device.kind, dtype=device.dtype)
    # On MPS channels last is slower, and has had bugs.
    return fast if device.kind == "mps" else channels_last(fast)


def channels_last(network: UNetPlusPlus) -> UNetPlusPlus:
    """The network itself, its weights now laid out with the channels last."""
    network.to(memory_format=memory_format(network.dims))  # type: ignore[call-overload]
    return network


def memory_format(dims: int, kind: str = "cpu") -> torch.memory_format:
    """Channels last for 2D or 3D tensors, but on MPS."""
    if kind == "mps":
        return torch.contiguous_format
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def training_format(device: Device, dims: int) -> torch.memory_format:
    """How tensors lie in memory while a network learns.

    Channels last in bf16 and for volumes, where a step takes 0.7 times as long so. In 2D in fp32
    the gradients of the weights take 2 to 5 times as long that way (oneDNN on AVX2), which makes a
    step 1.4 to 1.8 times slower; see `benchmarks learning`.
    """
    plain = device.dtype == torch.float32 and dims == 2
    return torch.contiguous_format if plain else memory_format(dims, device.kind)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether memory ran out, on any device: of torch on a CPU the words are all that tells."""
    if isinstance(error, MemoryError):
        return True
    return any(sign in str(error) for sign in OUT_OF_MEMORY)


def alone_on(kind: str) -> AbstractContextManager[object]:
    """Of the threads that compute on a device one at a time, where two end the process.

    That is on MPS (torch's issue 197805).
    """
    return _ALONE if kind == "mps" else nullcontext()


def release_memory(device: Device) -> None:
    """Give the memory that torch holds in reserve back to the device."""
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        with alone_on("mps"):
            torch.mps.empty_cache()
    elif tune_allocator():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def tune_allocator() -> bool:
    """Let glibc keep the memory of freed tensors, instead of mapping it afresh each time.

    Up to 1.5 times faster at L4 on a virtual machine; the process keeps its peak memory, until
    `release_memory`. It does nothing, and says so by False, where the C library isn't glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(mmap_max, 0) and libc.mallopt(trim_threshold, -1))


def _cuda() -> Device:
    if not torch.cuda.is_available():
        built = "was built without it" if torch.version.cuda is None else "finds no such GPU"
        raise UserError(
            f"CUDA can't be used: torch {torch.__version__} {built}. Choose auto or cpu, or "
            "install a torch with CUDA from pytorch.org."
        )
    gpu = torch.cuda.get_device_name()
    if not _has_kernels():
        raise UserError(
            f"CUDA can't be used: torch {torch.__version__} has no code for {gpu}. Choose auto or "
            "cpu, or install a torch for older GPUs from pytorch.org."
        )
    if torch.cuda.get_device_capability() >= (8, 0):  # Ampere, the first with bf16 in hardware
        return Device("cuda", torch.bfloat16, f"{gpu}, bf16", f"{gpu} is there and has bf16.")
    return Device("cuda", torch.float32, f"{gpu}, fp32", f"{gpu} is there; it has no bf16.")


def _has_kernels() -> bool:
    """Whether torch was built for the GPU that is there: builds leave old ones out."""
    known = torch.cuda.get_arch_list()
    if torch.version.hip or not known:  # AMD's have other names
        return True
    here = torch.cuda.get_device_capability()
    for kind, major, minor in re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(known)):
        there = int(major), int(minor)
        # Machine code is for one generation; what is compiled when it is loaded for later ones.
        if there <= here and (kind == "compute" or there[0] == here[0]):
            return True
    return False


def _mps() -> Device:
    if not torch.backends.mps.is_available():
        raise UserError("MPS can't be used: it needs a Mac with Apple silicon. Choose auto or cpu.")
    return Device("mps", torch.float32, "Apple GPU, fp32", "an Apple GPU is there.")


def _openvino() -> Device:
    require_openvino()
    reason = "OpenVINO was asked for: it computes in int8."
    return Device("cpu", torch.float32, "CPU, int8 (OpenVINO)", reason, "openvino")


def _cpu(reason: str) -> Device:
    if _cpu_has_bf16():
        return Device("cpu", torch.bfloat16, "CPU, bf16", f"CPU {reason}; it has bf16.")
    return Device("cpu", torch.float32, "CPU, fp32", f"CPU {reason}; it has no bf16.")


def _no_gpu() -> str:
    if torch.version.cuda is None:
        return "because this torch was built without CUDA, and there is no Apple GPU"
    if torch.cuda.is_available():
        return f"because torch {torch.__version__} has no code for {torch.cuda.get_device_name()}"
    driver = f"a driver for CUDA {torch.version.cuda}"
    return f"because no Apple GPU was found, and no NVIDIA GPU with {driver}"


@cache
def _cpu_has_bf16() -> bool:
    """Whether bf16 is computed in hardware; emulated it is slower than fp32."""
    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)  # missing in older torch
    capabilities: dict[str, bool] = get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
