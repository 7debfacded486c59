"""A zarr store that refuses chunks which the decoder would take for whole.

Blosc, which most OME-Zarr 0.4 is compressed with, reads beyond the end of a chunk that was cut off,
and gives what happens to be there as pixels. Its frames tell their length, so this can be told.

This module brings zarr, which takes its time: import it where it is needed.
"""

from __future__ import annotations

import struct
from typing import Any

from zarr import Array
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

_LENGTH = struct.Struct("<I")
_LENGTH_AT = 12
"""Where a frame of Blosc tells its length, in bytes."""


class CheckedStore(WrapperStore[Store]):
    """Any store, with the chunks of some arrays looked at."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._prefixes: set[str] = set()

    def check(self, array: Array[Any]) -> None:
        """Look at the chunks of an array from now on, if Blosc is what they were packed with last.

        Inside of shards zarr checks by itself.
        """
        metadata = array.metadata.to_dict()
        codecs: Any = metadata.get("codecs") or [metadata.get("compressor") or {}]
        if "blosc" in (codecs[-1].get("name"), codecs[-1].get("id")):
            self._prefixes.add(f"{array.path}/" if array.path else "")

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """As the store gives it.

        Raises
        ------
        ValueError
            If it is a chunk that was cut off.
        """
        value = await super().get(key, prototype, byte_range)
        if value is None or byte_range is not None or not self._is_chunk(key):
            return value
        head = value.as_numpy_array()[: _LENGTH_AT + _LENGTH.size].tobytes()
        whole = len(head) == _LENGTH_AT + _LENGTH.size
        if not whole or _LENGTH.unpack_from(head, _LENGTH_AT)[0] > len(value):
            raise ValueError(f"the end of the chunk {key} is missing")
        return value

    def _is_chunk(self, key: str) -> bool:
        name = key.rpartition("/")[2]
        is_metadata = name == "zarr.json" or name.startswith(".z")
        return not is_metadata and any(key.startswith(prefix) for prefix in self._prefixes)
