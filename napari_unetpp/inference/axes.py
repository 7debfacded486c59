"""Axes strings such as "ZYX": guess them, and check them.

The letters are T (time), Z (depth), C (channel), Y and X.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_unetpp.errors import UserError

LETTERS = "TZCYX"


def check_axes(axes: str, shape: Sequence[int]) -> str:
    """The axes in capitals, if they fit an image of this shape.

    Raises
    ------
    UserError
        If a letter is unknown or stands twice, if Y or X is missing, or if the number of letters
        is not the number of axes of the image.
    """
    axes = axes.strip().upper()
    unknown = sorted(set(axes) - set(LETTERS))
    if unknown:
        raise UserError(
            f"The axes {axes!r} have the unknown letter {unknown[0]!r}: use T, Z, C, Y and X."
        )
    twice = [letter for letter in LETTERS if axes.count(letter) > 1]
    if twice:
        raise UserError(f"The axes {axes!r} have {twice[0]} twice: use each letter once.")
    if "Y" not in axes or "X" not in axes:
        raise UserError(f"The axes {axes!r} lack Y or X: every image has both.")
    if len(axes) != len(shape):
        raise UserError(
            f"The axes {axes!r} name {len(axes)} axes, but the image has {len(shape)} "
            f"(shape {tuple(shape)}): give one letter for each."
        )
    return axes


def guess_axes(shape: Sequence[int], *, rgb: bool = False, labels: Sequence[str] = ()) -> str:
    """The most likely axes of an image, to be shown to the user and corrected by them.

    Parameters
    ----------
    shape : sequence of int
        Of the image, colour included.
    rgb : bool
        Whether the last axis is known to be colour.
    labels : sequence of str
        Names of the axes (all, or all but colour) if the layer or file has them, like
        ("z", "y", "x"). Names that aren't axes letters are not used.

    Raises
    ------
    UserError
        If the image has fewer than two axes, or more than there are letters.
    """
    shape = tuple(shape)
    colour = "C" if rgb else ""
    named = "".join(labels).upper()
    if all(len(label) == 1 for label in labels) and "Y" in named:
        try:
            return check_axes(named + colour, shape)
        except UserError:
            pass  # the names don't fit the shape, so they say nothing
    plain = len(shape) - len(colour)
    if plain < 2 or plain > 5:
        raise UserError(
            f"The image has shape {shape}; an image has Y and X, and at most T, Z and C besides."
        )
    if plain == 3 and not rgb and shape[-1] in (3, 4) and shape[0] > 4:
        return "YXC"
    return {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}[plain] + colour
