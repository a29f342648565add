"""Pictures with their captions, sounds or clips with their words, or all of them: two or more parts of one thing in a record."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ssl_jax.data import threefry
from ssl_jax.data.image.decode import MAX_PIXELS
from ssl_jax.data.image.pixels import said
from ssl_jax.data.sources.arrays import spread
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.fields import label_of
from ssl_jax.data.sources.pair_parts import (
    CLIP,
    COLUMNS,
    SOUND,
    SUFFIXES,
    TEXT,
    Clips,
    Pictures,
    Sounds,
    is_text,
    number_of,
    numbers_of,
)
from ssl_jax.data.sources.pair_rows import Beside, Fields, Rows, reading, rows_of
from ssl_jax.data.sources.pictures import Decoding
from ssl_jax.data.sources.texts import Empty, row_of
from ssl_jax.data.text.tokenizer import encoded, load
from ssl_jax.data.text.vocabulary import Vocabulary, digest_of, read_tokenizer, vocabulary_of
from ssl_jax.data.video import decode as video
from ssl_jax.errors import UserError

LABEL = "label"
_SEEN = 256  # items that are looked at when a source is opened


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs, or more parts of an item: `Pairs("/photos", tokenizer="tok.json")`; as a string, `pairs:/photos?size=64`.

    `path` is a folder of files beside one another (`x.jpg`, `x.txt`), tar archives in WebDataset's layout, or a table whose
    lines have paths and texts: `.csv`, `.tsv`, `.jsonl`, or `.parquet`, which may hold the pictures themselves.

    A record has what the parts say: `image` uint8 [size, size, channels]; `tokens` int32 [length]; `wave` float32 [rate *
    seconds] and `valid` bool; `clip` uint8 [frames, size, size, channels]. Of each part there is a number, `image_id`, `text_id`,
    ... int32, which the same picture or text has in every record, so that a batch knows its duplicates.

    A part may have several values, such as five captions: an example takes one of each, drawn by (`seed`, epoch, record).
    `source[i]` has the first of each.

    Args:
      path: as above, or a pattern of such files.
      parts: what a record has, of `image`, `sound`, `text`, `clip`, or other names, which are texts in fields of their own.
        `text:name+alt` takes the columns `name` and `alt` (of files: the suffixes) as several values. Without a column, the usual
        ones are taken.
      root: the folder that paths in a table start from; None: the one that it lies in.
      label: the column that becomes `label` int32: whole numbers, or names, which are numbered in their order; -1 where none is.
      more: further columns of that kind, "language,group", under their own names. They are labels too: no encoder sees them.
      same: a column by which items are the same, "concept": its value is a number, int32, under its name, for probes, and two
        under `<last part>/same`, for losses (`data/pairs/together.py`).
      each: a record for each value of the part `text`, and not for each item.
      tokenizer: the path of a `tokenizer.json`, or the name of one that ships; a recipe's own is its augment's.
      vocabulary: ids of signs, as in `TextViews`; those that are not given are read from the tokenizer.
      length: tokens of a text, with its signs; what is longer is cut, and counted in `notes`.
      size, channels, max_pixels: of pictures and frames, as in `EncodedPictures`. pixels: which numbers are black and white, of
        pictures that are not 8-bit.
      rate, seconds: of sounds, which are resampled, and cut or padded.
      frames: of a clip, spread evenly over its video.
      keep: whether what was read once stays in memory as arrays: for sets that fit there, of which a run sees many epochs.

    An item is a bad record without one of its parts, with nothing but space for a text, or with a file that cannot be read.

    Raises:
      UserError: nothing there, a column that is none, a tokenizer without a sign that is needed, or texts that are all the same.
    """

    path: str
    parts: str = "image,text"
    root: str | None = None
    label: str = ""
    more: str = ""
    same: str = ""
    each: bool = False
    tokenizer: str = ""
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    length: int = 32
    size: int = 64
    channels: int = 3
    max_pixels: int = MAX_PIXELS
    pixels: Sequence[float] | None = None
    rate: int = 16_000
    seconds: float = 2.0
    frames: int = 16
    keep: bool = False
    seed: int = 0
    rows: Rows = field(init=False, repr=False)
    columns: Mapping[str, tuple[str, ...]] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False, default=())
    _kept: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        asked = _asked(self.parts)
        _require_sizes(self)
        first = next(iter(asked.items()))
        rows = rows_of(os.fspath(self.path), self.root, first[1] or SUFFIXES.get(first[0], first[:1]))
        columns = {name: own or tuple(c for c in _usual(name) if c in rows.columns) for name, own in asked.items()}
        others = [*filter(None, (self.label, *_words(self.more), self.same))]
        _require_columns(columns, others, rows, self.path)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", reading(rows, [*chain(*columns.values()), *others]))
        object.__setattr__(self, "notes", tuple(self._look()))

    def __len__(self) -> int:
        return int(self._starts[-1]) if self.each else len(self.rows)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        item, text = self._place(index)
        row = self._line(item)
        record: Record = {}
        for part in self.columns:
            values = self._values(row, part)
            record |= self._read(part, values[text if part == TEXT else 0])
        return record | self._labels(row) | self._sameness(row)

    def draws(self, ids: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """Which values the records `ids` [R] have in `epochs` [R], int64 [R, 1 + K]: the record, and a number for each part."""
        keys = threefry.example_keys(self.seed, epochs, ids)
        drawn = [threefry.fold_in(keys, number)[:, 0] for number in range(len(self.columns))]
        return np.stack([np.asarray(ids), *drawn], axis=1).astype(np.int64)

    def drawn(self, record: Record, draws: np.ndarray) -> Record:
        """The record with one of the values of each part, by its row of `draws`."""
        row = self._line(self._place(int(draws[0]))[0])
        for part, number in zip(self.columns, draws[1:], strict=True):
            values = [] if self.each and part == TEXT else self._values(row, part)
            if len(values) > 1 and (place := int(number) % len(values)):
                with suppress(ValueError, OSError, SyntaxError):  # one of several that cannot be read: the first stays
                    record = record | self._read(part, values[place])
        return record

    def text_of(self, index: int) -> str:
        """The text of a record, of several the first. ValueError where there is none."""
        item, text = self._place(index)
        part = TEXT if TEXT in self.columns else next(filter(is_text, self.columns))
        return self._values(self.rows.row(item), part)[text]

    def file_of(self, index: int) -> str:
        """The path of a record's first picture, sound or clip, as it is named; "" where it lies in an archive or a table."""
        row, seen = self._row(self._place(index)[0]), [part for part in self.columns if not is_text(part)]
        value = self._values(row, seen[0])[0] if seen and row else ""
        return value if isinstance(value, str) else ""

    def values(self, name: str) -> np.ndarray | None:
        """All values of a label or of a column of `same`, which are read once; None for other fields."""
        if name not in {LABEL if self.label else "", *_words(self.more), self.same} - {""}:
            return None
        items = [self._place(i)[0] for i in range(len(self))] if self.each else range(len(self.rows))
        told = self._told[self.label if name == LABEL and self.label else name]
        if name == self.same:
            return np.array([number_of(str(told[i]).encode()) for i in items], np.int32)
        with suppress(ValueError):  # which record it is, reading says
            return np.array([label_of(told[i], self._names[name]) for i in items], np.int32)
        return None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of `label`, where it is names."""
        return self._names[LABEL] if self.label else ()

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The names of the further labels."""
        return {name: self._names[name] for name in _words(self.more)}

    @property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer; "" where none is given."""
        return digest_of(self.tokenizer) if self.tokenizer else ""

    @functools.cached_property
    def words(self) -> Vocabulary:
        """That of the tokenizer. UserError where none is given, or it cannot fill a row."""
        if not self.tokenizer:
            raise UserError(
                f"{type(self).__name__} needs tokenizer=PATH/tokenizer.json for texts, or a recipe whose augment says it; "
                "ssl-jax data tokenize makes one"
            )
        words = vocabulary_of(read_tokenizer(self.tokenizer), **self.vocabulary)
        words.require("pad", by="a row of one text")
        return words

    def name_of(self, index: int) -> str:
        """What a person calls the item."""
        return self.rows.name_of(self._place(index)[0])

    def fingerprint(self) -> str:
        """SHA-256 of the options and the items."""
        signs = sorted(self.vocabulary.items())
        told = (self.columns, self.label, self.more, self.same, self.each, self.tokenizer_digest, signs, self.length, self.size,
                self.channels, self.max_pixels, self.pixels, self.rate, self.seconds, self.seed)  # fmt: skip
        clips = (self.frames,) if CLIP in self.columns else ()
        return hashlib.sha256(f"{told + clips} {self.rows.fingerprint()}".encode()).hexdigest()

    @staticmethod
    def example(
        parts: str = "image,text", length: int = 32, label: str = "", more: str = "", same: str = "", **options: Any
    ) -> Record:
        """A record of zeros for `ssl-jax plan`: reads nothing."""
        zero = np.zeros((), np.int32)
        sizes = {"size": 64, "channels": 3, "rate": 16_000, "seconds": 2.0, "frames": 16} | options
        record: Record = {}
        for part in _asked(parts):
            record |= {_row_name(part): np.zeros(length, np.int32)} if is_text(part) else _reader(part, sizes).zeros
            record[f"{part}_id"] = zero
        twins = {same: zero, f"{list(_asked(parts))[-1]}/same": np.zeros(2, np.int32)} if same else {}
        return record | dict.fromkeys([*([LABEL] if label else []), *_words(more)], zero) | twins

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """The number of the first record of each item, and of all: an item has one for each of its texts, at least one."""
        counts = (len(self._texts(self._row(i), TEXT)) for i in range(len(self.rows)))
        return np.cumsum([0, *(max(count, 1) for count in counts)])

    @functools.cached_property
    def _told(self) -> dict[str, list[Any]]:
        """What all items have in the columns of labels and sameness; None where one has nothing or cannot be read."""
        found = [self._row(i) for i in range(len(self.rows))]
        wanted = [*filter(None, (self.label, *_words(self.more), self.same))]
        return {name: [row.get(name) for row in found] for name in wanted}

    @functools.cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """The names of each label, sorted; () where they are numbers."""
        wanted = {LABEL: self.label} if self.label else {}
        wanted |= {name: name for name in _words(self.more)}
        return {new: _class_names(self._told[old]) for new, old in wanted.items()}

    def _place(self, index: int) -> tuple[int, int]:
        """The item that a record is of, and which of its texts."""
        if not self.each:
            return index, 0
        item = int(np.searchsorted(self._starts, index, side="right")) - 1
        return item, index - int(self._starts[item])

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives; with `keep`, what it gave the first time."""
        if not self.keep:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _line(self, item: int) -> Fields:
        """A row. ValueError or OSError where it cannot be read."""
        row: Fields = self._once(item, partial(self.rows.row, item))
        return row

    def _values(self, row: Fields, part: str) -> list[Any]:
        """The values of a part: texts, or what `rows.data` reads. ValueError where there is none."""
        there = [name for name in self.columns[part] if name in row]
        if part not in _asked(self.parts, named=True):
            there = there[:1]  # of the usual places, the first that there is
        found = [value for name in there for value in (row[name] if isinstance(row[name], list) else [row[name]])]
        if not found:
            raise ValueError(
                f"no {part}: nothing under {', '.join(self.columns[part])}; write one, or leave the item out"
            )
        if not is_text(part):
            return found
        texts = [text.strip() for value in found for text in self.rows.texts(value) if text.strip()]
        if not texts:
            raise Empty(f"the {part} is empty")
        return texts

    def _read(self, part: str, value: Any) -> Record:
        """A part's arrays, and its number."""
        key = tuple(value.items()) if isinstance(value, Mapping) else value
        record: Record = self._once((part, key), partial(self._decoded, part, value))
        return record

    def _decoded(self, part: str, value: Any) -> Record:
        if is_text(part):
            row = row_of(value, self.tokenizer, self.words, self.length)
            return {_row_name(part): row, f"{part}_id": number_of(value.encode())}
        content = self.rows.data(value)
        return self._readers[part](content) | {f"{part}_id": number_of(content)}

    @functools.cached_property
    def _readers(self) -> dict[str, Pictures | Sounds | Clips]:
        return {part: _reader(part, vars(self)) for part in self.columns if not is_text(part)}

    def _labels(self, row: Fields) -> Record:
        return {
            new: label_of(row.get(self.label if new == LABEL and self.label else new), names)
            for new, names in self._names.items()
        }

    def _sameness(self, row: Fields) -> Record:
        if not self.same:
            return {}
        value = str(row.get(self.same)).encode()
        return {self.same: number_of(value), f"{list(self.columns)[-1]}/same": numbers_of(value)}

    def _look(self) -> Iterator[str]:
        """Notes on what stands alone and what is cut. UserError for texts that are all the same, and for an unfit tokenizer."""
        if isinstance(self.rows, Beside) and self.rows.note:
            yield self.rows.note
        for part in filter(is_text, self.columns):
            texts = self._some(part)
            _require_different(part, texts)
            if self.tokenizer and (cut := self._cut(texts)):
                yield cut

    def _some(self, part: str) -> list[str]:
        """The texts of a part of some items, evenly spread."""
        rows = (self._row(int(i)) for i in spread(len(self.rows), _SEEN))
        return [text for row in rows for text in self._texts(row, part)]

    def _row(self, item: int) -> Fields:
        """A row, empty where it cannot be read: reading the record says why."""
        with suppress(ValueError, OSError):
            return self.rows.row(item)
        return {}

    def _texts(self, row: Fields, part: str) -> list[str]:
        """The texts of a part, none of an item that is a bad record."""
        with suppress(ValueError, OSError):
            return self._values(row, part)
        return []

    def _cut(self, texts: Sequence[str]) -> str:
        """A sentence on how many texts do not fit into a row; "" where all do."""
        room = self.length - sum(sign is not None for sign in (self.words.start, self.words.end))
        long = sum(len(encoded(load(self.tokenizer), text, room + 1)) > room for text in texts)
        told = f"{long} of {len(texts)} texts that were looked at have more than {room} tokens and are cut: length= says how many"
        return told if long else ""


def _asked(parts: str, named: bool = False) -> dict[str, tuple[str, ...]]:
    """Part -> the columns that are named for it, from the option `parts`; with `named` only parts that name some."""
    split = [word.strip().partition(":") for word in parts.split(",")]
    found = {part: tuple(filter(None, columns.split("+"))) for part, _, columns in split}
    if len(found) < 2 or len(found) < len(split) or not all(map(str.isidentifier, found)):
        raise UserError(
            f"parts={parts!r}: name two or more, each once, as in image,text or image,text:name+alt,sound:speech"
        )
    return {part: columns for part, columns in found.items() if columns or not named}


def _usual(part: str) -> tuple[str, ...]:
    return (*COLUMNS.get(part, ()), *SUFFIXES.get(part, ())) or (part,)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _row_name(part: str) -> str:
    return "tokens" if part == TEXT else part


def _reader(part: str, options: Mapping[str, Any]) -> Pictures | Sounds | Clips:
    """What decodes a part that is no text."""
    if part == SOUND:
        return Sounds(options["rate"], options["seconds"])
    if part == CLIP:
        most = options.get("max_pixels", video.MAX_PIXELS)
        return Clips(video.Decoding(options["size"], options["channels"], most), options["frames"])
    return Pictures(_decoding(options))


def _decoding(options: Mapping[str, Any]) -> Decoding:
    pixels = options.get("pixels")
    return Decoding(
        options["size"],
        options["channels"],
        options.get("max_pixels", MAX_PIXELS),
        None if pixels is None else said(pixels),
    )


def _class_names(given: Sequence[Any]) -> tuple[str, ...]:
    """The names among labels, sorted; () where all are whole numbers."""
    names = sorted({value for value in given if isinstance(value, str)})
    return () if all(name.removeprefix("-").isdecimal() for name in names) else tuple(names)


def _require_sizes(source: Pairs) -> None:
    sizes = {name: getattr(source, name) for name in ("length", "size", "channels", "rate", "seconds", "frames")}
    if min(sizes.values()) <= 0 or source.length < 3:
        told = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise UserError(f"{told}: use positive numbers, and a length of at least 3, for a token and its signs")
    if source.each and TEXT not in _asked(source.parts):
        raise UserError(f"each=True is a record for each text, and parts={source.parts!r} has no part {TEXT!r}")


def _require_columns(columns: Mapping[str, tuple[str, ...]], others: Sequence[str], rows: Rows, path: Any) -> None:
    """UserError where a part, or another column that is asked for, is nowhere."""
    there = ", ".join(map(repr, rows.columns)) or "none"
    for part, own in columns.items():
        if not set(own) & set(rows.columns):
            told = (
                f"none of {', '.join(own)}"
                if own
                else f"nothing for the part {part!r} (usual are {', '.join(_usual(part))})"
            )
            raise UserError(
                f"{str(path)!r} has {told}; its columns or suffixes are {there}: name some, as in ?parts=image:photo,text:title, "
                "or write captions beside the files, x.txt beside x.jpg"
            )
    if missing := [name for name in others if name not in rows.columns]:
        raise UserError(f"{str(path)!r} has no column {missing[0]!r}; it has {there}")


def _require_different(part: str, texts: Sequence[str]) -> None:
    if len(texts) > 1 and len(set(texts)) == 1:
        raise UserError(
            f"all {len(texts)} texts of the part {part!r} that were looked at are {texts[0][:80]!r}: nothing can be told apart "
            "by them; name another column, as in ?parts=image,text:title"
        )
