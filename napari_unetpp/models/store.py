"""The models at hand: those that are shipped, and the user's own in the platform's data folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from pydantic import TypeAdapter, ValidationError

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.models.header import SUFFIX, read_digest, read_spec
from napari_unetpp.models.spec import LONGEST_NAME, ModelName, ModelSpec

if TYPE_CHECKING:
    from napari_unetpp.models.file import Model  # at run time only when needed: it brings torch


class TakenError(UserError):
    """There is a model of this name."""


DEFAULT_MODEL = "nuclei"
FOLDER_VARIABLE = "NAPARI_UNETPP_MODELS"
"""Environment variable that puts the user's models into another folder."""

_NAME: TypeAdapter[str] = TypeAdapter(ModelName)


class Store:
    """A folder of models under their names, beside the shipped ones, which can't be changed.

    Parameters
    ----------
    folder : Path, optional
        Of the user's models; by default in the platform's data folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else _user_folder()
        self.shipped_folder = Path(str(files("napari_unetpp"))) / "models" / "weights"

    def names(self) -> list[str]:
        """The names of all models, the shipped ones first."""
        return [
            path.name.removesuffix(SUFFIX)
            for folder in (self.shipped_folder, self.folder)
            for path in sorted(folder.glob(f"*{SUFFIX}"))
            if not path.name.startswith(".")
        ]

    def is_shipped(self, name: str) -> bool:
        """Whether a model comes with the package."""
        return (self.shipped_folder / f"{name}{SUFFIX}").is_file()

    def path(self, name: str) -> Path:
        """The file of a model.

        Raises
        ------
        UserError
            If there is no model of this name.
        """
        if name in self.names():
            folder = self.shipped_folder if self.is_shipped(name) else self.folder
            return folder / f"{name}{SUFFIX}"
        raise UserError(
            f"There is no model {name!r}: choose one of {', '.join(self.names()) or 'none'}, or "
            "give a .safetensors file."
        )

    def spec(self, name: str) -> ModelSpec:
        """What a model says about itself.

        Raises
        ------
        UserError
            If there is no such model or its file is damaged.
        """
        return read_spec(self.path(name))

    def lineage(self, name: str) -> str:
        """The family of a model, see `ModelSpec.lineage`.

        Raises
        ------
        UserError
            As `spec`.
        """
        return self.spec(name).lineage(read_digest(self.path(name)))

    def load(self, name: str) -> Model:
        """The model, checked whole.

        Raises
        ------
        UserError
            As `path` and `read_model`.
        """
        from napari_unetpp.models.file import read_model

        return read_model(self.path(name))

    def add(self, source: Path, name: str | None = None) -> str:
        """Take a model file into the store; gives its name there.

        Parameters
        ----------
        source : Path
            A file that napari-unetpp saved.
        name : str, optional
            Another name than the one in the file.

        Raises
        ------
        UserError
            If the file is refused (see `read_model`), or the name is taken or can't be one.
        """
        from napari_unetpp.models.file import read_model, save_model

        model = read_model(source)
        path = self.free_path(model.spec.name if name is None else name)
        try:
            if name is None or name == model.spec.name:
                write_atomically(path, source.read_bytes(), new=True)
                return model.spec.name
            save_model(model.network, model.spec.model_copy(update={"name": name}), path, new=True)
        except FileExistsError as error:  # another program was faster
            raise _taken(path.name.removesuffix(SUFFIX)) from error
        return name

    def free_path(self, name: str) -> Path:
        """Where a model of this name would be kept.

        Raises
        ------
        UserError
            If the name can't be one; `TakenError` if there is such a model.
        """
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise UserError(
                f"{name!r} can't be the name of a model: use letters, digits, spaces and . _ + -, "
                f"{LONGEST_NAME} at the most."
            ) from error
        # Windows and macOS take "Nuclei" and "nuclei" for one file.
        if name.casefold() in (taken.casefold() for taken in self.names()):
            raise _taken(name)
        return self.folder / f"{name}{SUFFIX}"

    def add_version(self, candidate: Path, of: str) -> str:
        """Take the fine-tuned model in `candidate` in, as the next version; gives its name.

        The versions of "nuclei" are "nuclei+1", "nuclei+2" …; those of "nuclei+1" go on counting.
        A number is never used for two models, also if another program takes one at this moment.

        Parameters
        ----------
        candidate : Path
            A model file; it stays where it is.
        of : str
            Name of the model that it was made from.

        Raises
        ------
        UserError
            If the file is refused (see `read_model`), or can't be written.
        """
        from napari_unetpp.models.file import read_model, save_model

        model = read_model(candidate)
        while True:
            name = self._next_version(of)
            spec = model.spec.model_copy(update={"name": name})
            try:
                save_model(model.network, spec, self.folder / f"{name}{SUFFIX}", new=True)
            except FileExistsError:
                continue  # another program was faster
            return name

    def add_new(self, candidate: Path, name: str) -> str:
        """Take a new model in; if its name was taken meanwhile, as the next that is free.

        These are "name 2", "name 3" …; gives the one that it has.

        Raises
        ------
        UserError
            If the file is refused (see `read_model`), or can't be written.
        """
        for free in _alike(name):
            try:
                return self.add(candidate, free)
            except TakenError:
                continue
        raise AssertionError("there is no end of names")

    def corrections_folder(self, lineage: str) -> Path:
        """Where the corrections for a family of models are kept (see `ModelSpec.lineage`)."""
        return self.folder / "corrections" / lineage[:16]

    def depths_file(self, digest: str) -> Path:
        """Where it is kept how fast and how right each head of a model is on this computer."""
        return self.folder / "depths" / f"{digest[:16]}.json"

    def export(self, name: str, target: Path, *, force: bool = False) -> None:
        """Copy a model to a file to give away.

        Raises
        ------
        UserError
            If there is no such model, the file can't be written, or it exists and `force` is not
            set.
        """
        content = self.path(name).read_bytes()
        if target.exists() and not force:
            raise UserError(f"{target} exists and is kept: choose another name or use --force.")
        write_atomically(target, content)

    def remove(self, name: str) -> None:
        """Delete one of the user's models for good.

        Raises
        ------
        UserError
            If there is no such model, or it is a shipped one.
        """
        path = self.path(name)
        if self.is_shipped(name):
            raise UserError(f"{name} comes with napari-unetpp and can't be removed.")
        try:
            path.unlink()
        except OSError as error:
            raise UserError(f"{path} can't be removed ({error.strerror}).") from error

    def _next_version(self, of: str) -> str:
        base = re.sub(r"\+\d+$", "", of)[: LONGEST_NAME - len("+9999")]
        pattern = re.compile(rf"{re.escape(base)}\+(\d+)", re.IGNORECASE)
        numbers = [int(m[1]) for name in self.names() if (m := pattern.fullmatch(name))]
        return f"{base}+{max(numbers, default=0) + 1}"


def load_model(name_or_path: str | Path) -> Model:
    """A model by its name in the store, or by its file.

    Raises
    ------
    UserError
        If there is none, or it is refused (see `read_model`).
    """
    from napari_unetpp.models.file import read_model

    return read_model(model_file(name_or_path))


def model_file(name_or_path: str | Path) -> Path:
    """The file of a model by its name in the store, or itself.

    Raises
    ------
    UserError
        If there is no model of this name.
    """
    path = Path(name_or_path)
    return path if path.suffix == SUFFIX else Store().path(str(name_or_path))


def _taken(name: str) -> TakenError:
    return TakenError(f"There is a model {name!r} already: give another name.")


def _alike(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name[: LONGEST_NAME - len(' 9999')]} {number}"


def _user_folder() -> Path:
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    return platformdirs.user_data_path("napari-unetpp", appauthor=False) / "models"
