"""What the user says of their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Learn = Literal["edited planes", "around edits", "checked planes", "scribbles"]
LEARN: tuple[Learn, ...] = ("edited planes", "around edits", "checked planes", "scribbles")
LABELS: tuple[Literal["auto", "classes", "instances"], ...] = ("auto", "classes", "instances")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the user says of their masks.

    Attributes
    ----------
    labels : {"auto", "classes", "instances"}
        What the numbers in a layer of the user's own are; "auto" takes many for instances.
    learn : {"edited planes", "around edits", "checked planes", "scribbles"}
        Which pixels are right: of each plane that was edited or marked as checked, all; those
        near to an edit; all of the planes marked as checked, and of no others; or those that are
        painted, in a layer where 1 is background and 2 … are the classes.
    margin : int
        What near is, in pixels.
    """

    learn: Learn = "edited planes"
    labels: Literal["auto", "classes", "instances"] = "auto"
    margin: int = 24
