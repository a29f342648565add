"""Records in ArrayRecord files, each read by itself: what `ssl-jax data prepare` writes, or bare pictures."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.sources import packed, shards
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.beside import labels_beside
from ssl_jax.data.sources.fields import chosen, label_of
from ssl_jax.data.sources.manifest import classes_beside
from ssl_jax.data.sources.pictures import EncodedPictures
from ssl_jax.data.sources.shards import Shard
from ssl_jax.errors import UserError

SUFFIX = ".array_record"
_READER = "readahead_buffer_size:0,max_parallelism:0"  # for reads from any place
_SEEN = 16  # records that are looked at for labels


@dataclass(frozen=True, eq=False)
class ArrayRecords(EncodedPictures):
    """Pictures in ArrayRecord files: `ArrayRecords("/data/in1k/train*", size=256)`.

    A record is a msgpack map with the encoded picture in `image`, and perhaps a whole number in `label` and further fields
    (`ssl_jax.data.sources.packed`), or the encoded picture alone. Files are in the order of their names.

    Args:
      files: a path, a folder, or a pattern such as `/data/train-{00000..00099}.array_record` or `/data/train*`.
      fields: further record fields, `{"text": "caption"}`; others are left out.
      classes: names in the order of the labels; without it those of the manifest that `data prepare` wrote beside the files.
      size, channels, max_pixels, pixels: as in `EncodedPictures`.

    Where only some records have a label, it is -1 for the others; where none of 16 has, there is no such field.

    Raises:
      UserError: no such files, or one that is no ArrayRecord file, is cut short, or holds no records.
    """

    files: str
    fields: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = field(default=(), kw_only=True)
    shards: tuple[Shard, ...] = field(init=False, repr=False)
    starts: np.ndarray = field(init=False, repr=False)
    labelled: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = shards.find(self.files, SUFFIX, "ArrayRecord files, as in arrayrecord:/data/train*.array_record")
        shards.require_local(found, "ArrayRecord files")
        object.__setattr__(self, "classes", tuple(self.classes) or classes_beside(found[0].path))
        object.__setattr__(self, "shards", found)
        object.__setattr__(self, "starts", np.cumsum([0, *map(_count, found)]))
        object.__setattr__(self, "labelled", self._has("label"))
        self._look()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def encoded(self, index: int) -> Record:
        """Record `index` with the bytes of its picture."""
        record = self._record(index)
        image = record.get("image")
        if not isinstance(image, bytes):
            raise ValueError("the record has no picture: `image` is missing, or is not bytes")
        label = {"label": label_of(record.get("label"), self.classes)} if self.labelled else {}
        return {"image": image} | label | chosen(record, self.fields)

    def texts(self, index: int) -> dict[str, Any]:
        """What else stands in record `index`: texts and numbers by name."""
        return {
            k: v for k, v in self._record(index).items() if k not in ("image", "label") and not isinstance(v, bytes)
        }

    def values(self, name: str) -> np.ndarray | None:
        """All labels [N], where `ssl-jax data prepare` wrote them beside the files; None for other fields."""
        if name != "label" or not self.labelled:
            return None
        counts = np.diff(self.starts).tolist()
        each = [labels_beside(s.path, SUFFIX, n) for s, n in zip(self.shards, counts, strict=True)]
        found = [labels for labels in each if labels is not None]
        if len(found) < len(each):
            return None
        labels = np.concatenate(found)
        return labels if labels.max() < (len(self.classes) or 2**31) else None

    def name_of(self, index: int) -> str:
        """The shard of a record and its number there, and the name that it had where it was prepared from."""
        place = shards.place_of(self.starts, index)
        with suppress(Exception):  # it may be a bad one
            return str(self._record(index)["name"])
        return f"{self.shards[place.shard].name}[{place.row}]"

    def fingerprint(self) -> str:
        """SHA-256 of the options, the counts, and names, sizes and both ends of the files."""
        digest = self._digest()
        digest.update(f"{self.fields} {self.classes} {self.starts.tolist()}\n".encode())
        shards.see(digest, self.shards)
        return digest.hexdigest()

    def _record(self, index: int) -> dict[str, Any]:
        place = shards.place_of(self.starts, index)
        (data,) = _reader(self.shards[place.shard]).read([place.row])
        return packed.unpack(data) if packed.is_packed(data) else {"image": data}

    def _has(self, name: str) -> bool:
        """Whether one of the first records has a field. One that cannot be read is a bad record, not a reason to stop here."""
        for index in range(min(_SEEN, len(self))):
            with suppress(Exception):
                if name in self._record(index):
                    return True
        return False


def _count(shard: Shard) -> int:
    reader = _reader(shard)
    if not reader.ok() or not reader.num_records():
        raise UserError(
            f"{shard.path!r} is no ArrayRecord file, or is cut short, damaged or empty{_said(reader)}; copy or write it again"
        )
    return reader.num_records()


def _said(reader: Any) -> str:
    """What a reader that failed says of it."""
    try:
        reader.read([0])
    except Exception as error:
        return f" ({str(error)[:200]})"
    return ""


@functools.lru_cache(maxsize=256)
def _reader(shard: Shard) -> Any:
    """An open file; its reads are safe to share between threads."""
    from array_record.python.array_record_module import ArrayRecordReader

    shards.require_same(shard)
    return ArrayRecordReader(shard.path, _READER, file_reader_buffer_size=1 << 15)
