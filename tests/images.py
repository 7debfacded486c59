"""Images without structure, for tests that only ask where things go; and discs, to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def noise(*shape: int, seed: int = 0) -> NDArray[Any]:
    """16 bits a pixel; the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 4000, shape, np.uint16)


def discs(shape: tuple[int, int], seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Bright, noisy discs as a camera sees them, and which pixels they cover."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(shape[0] * shape[1] // 1000):
        away = np.hypot(y - rng.integers(shape[0]), x - rng.integers(shape[1]))
        mask |= away < rng.integers(6, 12)
    image = 800.0 + 2000 * mask + 300 * rng.standard_normal(shape)
    return np.clip(image, 0, 65535).astype(np.uint16), mask
