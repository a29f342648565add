"""A record as bytes and back: a msgpack map of field names to bytes, texts and numbers. It can hold nothing that runs.

{"image": <a JPEG>, "label": 3, "name": "n01440764/1.jpg", "caption": "a tench"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Value = bytes | str | int | float | bool
_MOST = 64  # fields
_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)  # how a map begins in msgpack
_PNG = b"\x89PNG"  # which begins as a map of nine would


def pack(record: Mapping[str, Value]) -> bytes:
    """A record as bytes, the same for the same record. TypeError for values that are not bytes, text or a number."""
    import msgpack

    odd = [name for name, value in record.items() if not isinstance(value, Value)]
    if odd:
        raise TypeError(f"field {odd[0]!r} is of {type(record[odd[0]])}")
    return msgpack.packb(dict(record), use_bin_type=True)


def is_packed(data: bytes) -> bool:
    """Whether bytes begin as `pack` writes them, and not as a picture."""
    return data[:1] != b"" and data[0] in _MAPS and data[:4] != _PNG


def unpack(data: bytes) -> dict[str, Any]:
    """The record that `pack` made these bytes of. ValueError for anything else."""
    import msgpack

    try:
        record = msgpack.unpackb(data, raw=False, max_map_len=_MOST, max_array_len=0, max_ext_len=0)
    except Exception as error:  # of msgpack's own classes, of codecs, of the dict
        raise ValueError(f"no packed record ({type(error).__name__}: {error})") from error
    if not isinstance(record, dict) or not all(isinstance(k, str) and isinstance(v, Value) for k, v in record.items()):
        raise ValueError("no packed record: fields are bytes, texts and numbers with names")
    return record
