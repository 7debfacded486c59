"""How far a run is, for those who show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a run is.

    Attributes
    ----------
    fraction : float
        0 to 1.
    head : int
        The last that came; 0 if that tile could not be read, or none came yet.
    plane, planes : int
        Which plane is being computed, from 1, and how many there are.
    seconds, remaining : float
        Since the start of what is being done, and to the end as it looks.
    device, reason : str
        Where, like "CPU, bf16", and why there.
    size : str
        In which size a multiscale image is segmented, like " · at 1/4 size"; else empty.
    preparing : str
        What is being done before the first tile; else empty.
    """

    fraction: float
    head: int
    plane: int
    planes: int
    seconds: float
    remaining: float
    device: str
    reason: str
    size: str
    preparing: str = ""
