"""Tables, for the terminal or as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 120
"""Characters: rich would otherwise wrap tables to 80 where there is no terminal."""


@dataclass(frozen=True)
class Sheet:
    """A table of results.

    Attributes
    ----------
    title : str
        What was measured.
    columns : tuple of str
        Names; the first column is to the left, the others to the right.
    rows : sequence of tuple of str
        The cells.
    note : str
        What to know when reading it.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def show(sheets: Sequence[Sheet], *, markdown: bool = False) -> None:
    """Print tables, for the terminal or as markdown."""
    console = Console()
    console = console if console.width >= WIDTH else Console(width=WIDTH)
    for sheet in sheets:
        if markdown:
            lines = [sheet.columns, ("---", *("---:",) * (len(sheet.columns) - 1)), *sheet.rows]
            print(f"**{sheet.title}**\n")
            print(*(f"| {' | '.join(cells)} |" for cells in lines), sep="\n")
            print(f"\n{sheet.note}\n" if sheet.note else "")
            continue
        table = Table(box=box.SIMPLE_HEAD)
        for number, name in enumerate(sheet.columns):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in sheet.rows:
            table.add_row(*map(Text, row))
        console.print(sheet.title, style="bold", highlight=False)
        console.print(table)
        if sheet.note:
            console.print(sheet.note, "\n", style="dim", highlight=False)


def verdict(holds: bool) -> str:
    """For the column that compares with a goal."""
    return "yes" if holds else "NO"
