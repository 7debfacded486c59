"""How deep is deep enough: the figures of each head, and the cheapest that is good enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.scores import Cost

TOLERANCE = 0.5
"""IoU points, hundredths of the IoU, that a cheaper head may lose."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class DepthRow:
    """How right one head is, or the ensemble of all, and what it costs.

    Attributes
    ----------
    head : str
        "L1", "L2", … or "ensemble".
    iou, dice : float
        0 to 1, against masks or against the deepest head; NaN where there is nothing to find.
    cost : Cost
        Of the network pruned to that head.
    """

    head: str
    iou: float
    dice: float
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Depths:
    """What was measured of the heads of a model, and on what.

    Attributes
    ----------
    model, digest : str
        Name and SHA-256.
    dims : {2, 3}
        Planes or volumes.
    device : str
        Where, in words.
    compared : str
        The name of the masks that the heads are compared with; empty if it was the deepest head.
    part : str
        What of the image was looked at, in words.
    tile : tuple of int
        Sides of the tile that was timed, in pixels of the network.
    rows : tuple of DepthRow
        The shallowest head first, the ensemble last.
    """

    model: str
    digest: str
    dims: int
    device: str
    compared: str
    part: str
    tile: tuple[int, ...]
    rows: tuple[DepthRow, ...]

    @property
    def deepest(self) -> str:
        """The name of the deepest head."""
        return [row.head for row in self.rows if row.head.startswith("L")][-1]

    @property
    def agreement(self) -> bool:
        """Whether the IoU is that with the deepest head: how alike, and not how right."""
        return not self.compared

    def sentence(self, tolerance: float) -> str:
        """Why the recommended head is recommended; see `sentence`."""
        return sentence(self.rows, tolerance, agreement=self.agreement)


def recommend(rows: Sequence[DepthRow], tolerance: float = TOLERANCE) -> DepthRow | None:
    """The cheapest whose IoU is within a tolerance of the best; None if none has an IoU.

    Of those that take as long, the one with fewest parameters, and of these the first.

    Parameters
    ----------
    rows : sequence of DepthRow
        In any order.
    tolerance : float
        In IoU points, 0 to 100.

    Raises
    ------
    UserError
        If the tolerance is none.
    """
    check_tolerance(tolerance)
    scored = [row for row in rows if not math.isnan(row.iou)]
    if not scored:
        return None
    least = max(row.iou for row in scored) - tolerance / 100 - _ROUNDING
    return min((row for row in scored if row.iou >= least), key=_price)


def check_tolerance(tolerance: float) -> None:
    """Refuse what isn't one.

    Raises
    ------
    UserError
        If it isn't between 0 and 100.
    """
    if not 0 <= tolerance <= 100:
        raise UserError(f"The tolerance is {tolerance:g}; give IoU points from 0 to 100, like 0.5.")


def sentence(rows: Sequence[DepthRow], tolerance: float, *, agreement: bool = False) -> str:
    """Why the recommended head is recommended.

    Parameters
    ----------
    rows : sequence of DepthRow
        As for `recommend`.
    tolerance : float
        In IoU points.
    agreement : bool
        Whether the IoU is that with the deepest head rather than with masks.
    """
    chosen = recommend(rows, tolerance)
    if chosen is None:
        return "There is nothing to find in this part of the image, so heads can't be compared."
    scored = [row for row in rows if not math.isnan(row.iou)]
    if len(scored) == 1:
        return f"{_subject(chosen)} is the only head."
    best = max(scored, key=lambda row: (row.iou, [-price for price in _price(row)]))
    if best.head != chosen.head:
        return f"{_compared(chosen, best, agreement)}{_faster(chosen, best, agreement)}."
    dearest = max(scored, key=lambda row: _price(row)[0])
    cheaper = any(_price(row) < _price(chosen) for row in scored)
    if agreement and cheaper:
        return f"No cheaper head agrees with {chosen.head} within {tolerance:g} IoU points."
    told = f"finds the same as {_the(dearest)}" if agreement else "is the best"
    faster = _faster(chosen, dearest, agreement)
    than = f" as {_the(dearest)}" if faster and not agreement else ""
    end = f"; no cheaper head is within {tolerance:g} IoU points" if cheaper else ""
    return f"{_subject(chosen)} {told}{faster}{than}{end}."


def _compared(chosen: DepthRow, best: DepthRow, agreement: bool) -> str:
    lost, who = 100 * (best.iou - chosen.iou), _subject(chosen)
    if agreement:
        return f"{who} agrees with {_the(best)} but for {_points(lost)}"
    if lost < _ROUNDING:
        return f"{who} is as good as {_the(best)}"
    return f"{who} is within {_points(lost)} of {_the(best)}"


def _faster(chosen: DepthRow, other: DepthRow, agreement: bool) -> str:
    times = [row.cost.milliseconds_per_megapixel for row in (other, chosen)]
    ratio = times[0] / times[1] if times[1] else math.nan
    if math.isnan(ratio) or ratio < 1.05:
        return ""
    return f" and {'is ' if agreement else ''}{ratio:.1f} times as fast"


def _points(lost: float) -> str:
    rounded = f"{lost:.1f}"
    if rounded == "0.0":
        return "less than 0.1 points"
    return "1 point" if rounded == "1.0" else f"{rounded} points"


def _the(row: DepthRow) -> str:
    return row.head if row.head.startswith("L") else f"the {row.head}"


def _subject(row: DepthRow) -> str:
    name = _the(row)
    return name[0].upper() + name[1:]


def _price(row: DepthRow) -> tuple[float, float]:
    """What to sort by; a time that isn't known counts as long."""
    time = row.cost.milliseconds_per_megapixel
    return math.inf if math.isnan(time) else time, row.cost.parameters
