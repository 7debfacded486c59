"""How much memory a tile could take on a device: kept from one session to the next.

What is remembered is a sign of how things were, not a setting: it counts for a month, for this
version, on a device of this much memory, and as long as not much more of that is free.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

import napari_unetpp
from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.inference.room import cache_folder

FILE = "tiles.json"
"""In the cache folder."""
DAYS = 30
"""After which what was remembered is tried again."""
MORE_FREE = 1.5
"""Times as much free memory as then, from which it is, too."""
SAME_TOTAL = 0.01
"""Share by which the memory of a device may seem to change, as with what the system reserves."""


class Limit(BaseModel):
    """What a tile may take, and when that is to be believed.

    Attributes
    ----------
    room : float
        Bytes, as the model of memory counts them.
    free, total : float
        Bytes that were free on the device, and all that it has.
    version : str
        Of this package.
    when : datetime
        In UTC.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    room: float
    free: float
    total: float
    version: str
    when: datetime

    def holds(self, free: float, total: float) -> bool:
        """Whether it is to be believed on a device with so much memory now."""
        try:
            age = datetime.now(UTC) - self.when
        except TypeError:  # written by hand, without a time zone
            return False
        return (
            self.version == napari_unetpp.__version__
            and abs(total - self.total) <= SAME_TOTAL * self.total
            and free <= MORE_FREE * self.free
            and timedelta() <= age <= timedelta(days=DAYS)
        )


_LIMITS: TypeAdapter[dict[str, Limit]] = TypeAdapter(dict[str, Limit])
_HERE: dict[str, Limit] = {}
"""Of this process: they count where nothing can be written, too."""


def room_left(device: str, free: float, total: float) -> float:
    """Bytes that a tile may take on a device by what is remembered; infinity if nothing is."""
    limit = (_read() | _HERE).get(device)
    return limit.room if limit is not None and limit.holds(free, total) else float("inf")


def remember(device: str, room: float, free: float, total: float) -> None:
    """Note that memory ran out with more than `room` bytes for a tile."""
    limit = Limit(
        room=room,
        free=free,
        total=total,
        version=napari_unetpp.__version__,
        when=datetime.now(UTC),
    )
    _HERE[device] = limit
    with suppress(UserError):  # then it is remembered as long as this process lives
        write_atomically(_path(), _LIMITS.dump_json(_read() | _HERE, indent=2))


def _read() -> dict[str, Limit]:
    """What is on the disk; nothing if that can't be understood."""
    try:
        return _LIMITS.validate_json(_path().read_bytes())
    except (OSError, ValidationError):
        return {}


def _path() -> Path:
    return cache_folder() / FILE
