"""Which pieces of a run are finished: one small file each, written after the piece."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from napari_unetpp.cluster.folder import Folder
from napari_unetpp.errors import UserError
from napari_unetpp.files import Source

SUFFIX = ".journal"
SETTINGS, MODEL, CREATED, DONE = "run.json", "model.safetensors", "created", "done"
PER_FOLDER = 4096
"""Files in one folder: file systems get slow with more than some thousands."""


class Journal:
    """The folder beside the masks in which a run keeps its notes, as long as it isn't complete.

    It holds the settings, the model and a file for each finished piece, so that whoever sees the
    masks can go on with them: another worker, or the same command tomorrow.

    Parameters
    ----------
    target : Path or str
        The masks.
    """

    def __init__(self, target: Source) -> None:
        self.place: Source
        if isinstance(target, str):
            self.place = target.rstrip("/") + SUFFIX
        else:
            self.place = target.with_name(target.name + SUFFIX)
        self.folder = Folder(self.place)

    def begun(self) -> tuple[str, dict[str, Any]] | None:
        """The token and the settings of the run that was begun; None if there was none.

        Raises
        ------
        UserError
            If they can't be read.
        """
        content = self.folder.read(SETTINGS)
        if content is None:
            return None
        try:
            notes = json.loads(content)
            return str(notes["token"]), dict(notes["settings"])
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"The notes in {self.place} are damaged, so that the run can't go on: use --force "
                "to begin anew."
            ) from error

    def begin(self, settings: Mapping[str, Any], model: bytes) -> str:
        """Note the settings, after the model, so that it is there, too; gives the run's token."""
        token = secrets.token_hex(8)
        self.folder.write(MODEL, model)
        notes = {"token": token, "settings": dict(settings)}
        self.folder.write(SETTINGS, json.dumps(notes, indent=2).encode())
        return token

    def model(self) -> bytes:
        """The model of the run.

        Raises
        ------
        UserError
            If it is gone.
        """
        content = self.folder.read(MODEL)
        if content is None:
            raise UserError(
                f"There is no model in {self.place}, or this machine doesn't see that place: every "
                "worker has to see the image and the masks under the same names."
            )
        return content

    @property
    def is_created(self) -> bool:
        """Whether the masks were there, without pixels, before the first piece."""
        return self.folder.read(CREATED) is not None

    def note_created(self) -> None:
        """Note that they are."""
        self.folder.write(CREATED, b"")

    def note_done(self, level: int, number: int, note: Mapping[str, Any]) -> None:
        """Note that a piece of a resolution is written."""
        self.folder.write(_name(level, number), json.dumps(dict(note)).encode())

    def is_done(self, level: int, number: int) -> bool:
        """Whether a piece of a resolution is written."""
        return self.folder.read(_name(level, number)) is not None

    def done(self, level: int) -> set[int]:
        """All pieces of a resolution that are written."""
        names = self.folder.names(f"{DONE}/{level}")
        numbers = (name.rpartition("/")[2] for name in names)
        return {int(number) for number in numbers if number.isdigit()}

    def remove(self) -> None:
        """Take the notes away, when nothing is left to do."""
        self.folder.remove()


def _name(level: int, number: int) -> str:
    return f"{DONE}/{level}/{number // PER_FOLDER}/{number}"
