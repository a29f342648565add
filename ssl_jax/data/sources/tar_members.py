"""The members of a tar archive, as names and places. Nothing is extracted, and a name is never used as a path.

POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU long names. Headers are parsed by `tarfile`; what may be large in them is
bounded here, which `tarfile` does not.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

ReadAt = Callable[[int, int], bytes]
_BLOCK = 512
_LONGEST = 1 << 16  # bytes of an extended header; the longest path of Linux is 4 kB
_CHAIN = 8  # extended headers before one member
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_PASSED = (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)  # headers that say nothing of where a file lies
_ODD = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_EMPTY = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class Member(NamedTuple):
    """A file in an archive: `size` bytes at `offset`. `odd` says what it is where it is none."""

    name: str
    offset: int
    size: int
    odd: str


class _Told(NamedTuple):
    """What extended headers say of the member after them."""

    name: str = ""
    size: int | None = None
    sparse: bool = False
    headers: int = 0


def members(read: ReadAt, size: int) -> Iterator[Member]:
    """Every member but folders of an archive of `size` bytes, of which `read(offset, n)` gives n.

    Raises:
      ValueError: damaged, cut short, or compressed, with the byte where it shows.
    """
    at, told = 0, _Told()
    while (info := _header(read, at, size)) is not None:
        data = _data(read, at, size, info)
        length = _length(info, told)
        if not 0 <= length <= size - data:
            raise ValueError(f"the member at byte {at} claims {length} bytes, and {size - data} follow")
        if info.type in _EXTENDED:
            told = _more(told, info.type, _extended(read, data, length))
        elif info.type not in _PASSED:
            if info.type != tarfile.DIRTYPE:
                yield Member(told.name or info.name, data, length, _odd(info, told))
            told = _Told()
        at = data + -(-length // _BLOCK) * _BLOCK


def packed_as(start: bytes) -> str:
    """The name of the compression of a file that begins so; "" for none that is known."""
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), "")


def _header(read: ReadAt, at: int, size: int) -> tarfile.TarInfo | None:
    """The header at byte `at`; None at the end mark, a block of zeros."""
    if at + _BLOCK > size:
        raise ValueError(f"it is cut short: it ends at byte {size} without an end mark")
    block = read(at, _BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        raise ValueError(f"there is no header at byte {at} ({error})") from error


def _data(read: ReadAt, at: int, size: int, info: tarfile.TarInfo) -> int:
    """Where the bytes of a member begin: after its header, and after what GNU's sparse files have more of them."""
    more = info.type == tarfile.GNUTYPE_SPARSE and read(at + 482, 1) != b"\0"
    at += _BLOCK
    while more:
        if at + _BLOCK > size:
            raise ValueError(f"it is cut short: it ends at byte {size} in a header")
        more, at = read(at + 504, 1) != b"\0", at + _BLOCK
    return at


def _length(info: tarfile.TarInfo, told: _Told) -> int:
    if info.type in _EMPTY:
        return 0  # whatever they say
    return info.size if told.size is None or info.type in _EXTENDED + _PASSED else told.size


def _odd(info: tarfile.TarInfo, told: _Told) -> str:
    regular = info.type in tarfile.REGULAR_TYPES or info.type not in tarfile.SUPPORTED_TYPES
    return "a sparse file" if told.sparse else _ODD.get(info.type, "" if regular else "something else")


def _extended(read: ReadAt, at: int, length: int) -> bytes:
    if length > _LONGEST:
        raise ValueError(f"the extended header before byte {at} has {length} bytes, and {_LONGEST} are read")
    return read(at, length)


def _more(told: _Told, kind: bytes, data: bytes) -> _Told:
    """`told`, and what one more extended header says."""
    if told.headers >= _CHAIN:
        raise ValueError(f"more than {_CHAIN} extended headers in a row")
    told = told._replace(headers=told.headers + 1)
    if kind == tarfile.GNUTYPE_LONGNAME:
        return told._replace(name=_text(data.rstrip(b"\0")))
    found = dict(_pax(data))
    return told._replace(
        name=_text(found.get(b"path", b"")) or told.name,
        size=int(found[b"size"]) if b"size" in found else told.size,
        sparse=told.sparse or any(key.startswith(b"GNU.sparse") for key in found),
    )


def _pax(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records `length key=value\\n` of an extended header."""
    while data.strip(b"\0"):
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        key, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not equals or length > len(data):
            raise ValueError("an extended header that is no list of keys and values")
        yield key, value
        data = data[length:]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
