"""What was measured of a model's heads on this computer, and which one the user took."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from napari_unetpp.atomic import write_atomically
from napari_unetpp.evaluation.recommend import DepthRow, Depths


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """Figures of a model on a device, and the choice that was made by them.

    Attributes
    ----------
    depths : Depths
        As they were measured last.
    when : str
        ISO 8601 date and time in UTC.
    chosen : str
        The head that the user took, like "L2", or "ensemble"; empty if none yet.
    """

    depths: Depths
    when: str
    chosen: str = ""

    def row(self, head: str) -> DepthRow | None:
        """The figures of a head."""
        return next((row for row in self.depths.rows if row.head == head), None)


_FILE: TypeAdapter[dict[str, Remembered]] = TypeAdapter(dict[str, Remembered])


def recall(path: Path, device: str) -> Remembered | None:
    """What is known of a model; None if nothing, or if the file is damaged.

    Parameters
    ----------
    path : Path
        The model's file, see `Store.depths_file`.
    device : {"auto", "cpu", "cuda", "mps", "openvino"}
        As it was asked for: which one "auto" stands for is known only once torch is loaded.
    """
    return _read(path).get(_key(device))


def remember(path: Path, depths: Depths, device: str) -> None:
    """Keep figures for a model and a device, as for `recall`; the choice made before stays.

    Raises
    ------
    UserError
        If the file can't be written.
    """
    known, key = _read(path), _key(device)
    chosen = known[key].chosen if key in known else ""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    _write(path, {**known, key: Remembered(depths=depths, when=when, chosen=chosen)})


def choose(path: Path, head: str, device: str) -> None:
    """Keep that the user took a head, where there are figures for the device.

    Raises
    ------
    UserError
        If the file can't be written.
    """
    known, key = _read(path), _key(device)
    if key in known:
        _write(path, {**known, key: replace(known[key], chosen=head)})


def _key(device: str) -> str:
    """A home folder may be shared by computers of different speed."""
    return f"{device} on {platform.node()}"


def _read(path: Path) -> dict[str, Remembered]:
    try:
        return _FILE.validate_python(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError, RecursionError):
        return {}  # nothing was measured yet, or it will be measured again


def _write(path: Path, known: dict[str, Remembered]) -> None:
    text = json.dumps({key: asdict(value) for key, value in known.items()}, indent=1)
    write_atomically(path, text.encode())
