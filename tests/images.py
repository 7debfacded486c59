"""Images without structure, for tests that only ask where things go."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def noise(*shape: int, seed: int = 0) -> NDArray[Any]:
    """16 bits a pixel; the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 4000, shape, np.uint16)
