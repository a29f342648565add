"""Data sets prepared by TensorFlow Datasets, read at random without TensorFlow.

TFDS writes ArrayRecord files with `file_format="array_record"`; `as_data_source` gives records of them as numpy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data.image.decode import MAX_PIXELS
from ssl_jax.data.image.pixels import Range
from ssl_jax.data.sources.base import Record
from ssl_jax.data.sources.pictures import Decoding
from ssl_jax.errors import UserError

# A namespace (`huggingface:`) would download a script and run it; arguments after a comma would go to any constructor.
NAME = re.compile(r"[a-z0-9_]+(/[\w.-]+){0,2}(:[\d*]+(\.[\d*]+){0,2})?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Tfds:
    """A split of a prepared TFDS data set: `Tfds("fashion_mnist", "train[:90%]")`.

    Args:
      name: as TFDS writes it, `name`, `name/config` or `name/config:1.0.0`.
      split: with TFDS's slicing, e.g. `train[:50%]`.
      data_dir: where it was prepared; None is TFDS's own default.
      image_key: the feature that becomes `image` uint8 [H, W, C], or None where there are no images.
      label_key: the feature that becomes `label` int32, or None. Its names become `classes`.
      fields: further record fields, `{"tokens": "text_ids"}`; others are left out.
      size: resize and crop images to [size, size, channels] as `ImageFolder` does; needed where they differ in size.
      channels: 3 or 1, with `size`.

    Nothing is downloaded. Raises:
      UserError: not prepared, not as ArrayRecord, or an unknown split or feature.
    """

    name: str
    split: str
    data_dir: str | None = None
    image_key: str | None = "image"
    label_key: str | None = "label"
    fields: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    channels: int = 3
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    scale: Range | None = field(init=False, repr=False)
    decoding: Decoding = field(init=False, repr=False)
    _wanted: dict[str, str] = field(init=False, repr=False)
    _records: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wanted = {"image": self.image_key, "label": self.label_key, **self.fields}
        wanted = {new: old for new, old in wanted.items() if old is not None}
        records = _open(self.name, self.split, self.data_dir, self.image_key if self.size else None)
        features = records.dataset_info.features
        missing = [old for old in wanted.values() if old not in features]
        if missing or not wanted:
            has = ", ".join(sorted(features, key=_usual_first))
            raise UserError(
                f"TFDS {self.name!r} has no feature {(missing or [None])[0]!r}; it has {has}; "
                f"set image_key, label_key (None: there is none) or fields"
            )
        if not len(records):
            raise UserError(f"TFDS {self.name!r} split={self.split!r} holds no records; choose a larger slice")
        names = getattr(features[self.label_key], "names", None) if self.label_key else None
        object.__setattr__(self, "classes", tuple(names or ()))
        wide = self.image_key is not None and getattr(features[self.image_key], "np_dtype", None) == np.uint16
        scale = Range(0.0, 65535.0) if wide else None
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "notes", ("uint16 pixels: 0 is black and 65535 white",) if wide else ())
        object.__setattr__(self, "_wanted", wanted)
        object.__setattr__(self, "_records", records)
        if self.size:  # without it, TFDS decodes, and there are no encoded pictures to give
            object.__setattr__(self, "encoded", self._encoded)
            object.__setattr__(self, "decoding", Decoding(self.size, self.channels, MAX_PIXELS, scale))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        record = self._encoded(index)
        return record | {"image": self.decoding(record["image"])} if self.size and "image" in record else record

    @staticmethod
    def example(size: int, channels: int = 3, **_: object) -> Record:
        """A record of zeros like those of images decoded to `size`, for `ssl-jax plan`: reads nothing."""
        return {"image": np.zeros((size, size, channels), np.uint8), "label": np.zeros((), np.int32)}

    def name_of(self, index: int) -> str:
        """What a person calls the record, for lists of bad ones."""
        return f"{self.name}/{self.split}[{index}]"

    def fingerprint(self) -> str:
        """SHA-256 of the data set's full name and version, the split, its shards and bytes, and the options."""
        info = self._records.dataset_info
        split = info.splits[self.split]
        told = (info.full_name, self.split, len(self), split.num_bytes, tuple(split.shard_lengths), self._wanted)
        return hashlib.sha256(repr((*told, self.size, self.channels)).encode()).hexdigest()

    def _encoded(self, index: int) -> Record:
        """A record whose image is the bytes of a picture, where there is a `size`."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        found = self._records[int(index)]
        return {new: self._value(new, found[old], index) for new, old in self._wanted.items()}

    def _value(self, name: str, value: Any, index: int) -> Any:
        if name == "image" and self.size:
            return value
        if name == "label":
            if self.classes and value != -1 and not 0 <= value < len(self.classes):
                raise UserError(
                    f"label {value} of record {index} of TFDS {self.name!r} is outside [0, {len(self.classes)}); "
                    f"set label_key=None where a split has no labels, or prepare it again"
                )
            return np.asarray(value, np.int32)
        return np.asarray(value)


def _usual_first(feature: str) -> tuple[bool, str]:
    return feature not in ("image", "label"), feature


def _open(name: str, split: str, data_dir: str | None, undecoded: str | None) -> Any:
    if not NAME.fullmatch(name):
        raise UserError(
            f"TFDS {name!r}: write name, name/config or name/config:1.0.0, the name in lower case with underscores"
        )
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    decoders = {undecoded: tfds.decode.SkipDecoding()} if undecoded else None
    try:
        if data_dir is not None:
            _require_own_features(data_dir, name)
        # Not `tfds.data_source`, which asks a bucket about data sets that are not prepared here.
        prepared = builder_from_files(name, **({"data_dir": data_dir} if data_dir else {"file_format": "array_record"}))
        return prepared.as_data_source(split=split, decoders=decoders)
    except (ValueError, NotImplementedError, AssertionError, OSError, ImportError, KeyError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, NotImplementedError):  # said of every format but ArrayRecord, and where there is nothing
            said = "it is not prepared there as ArrayRecord files."
        raise UserError(
            f"TFDS {name!r} split={split!r} cannot be read from {data_dir or 'the default TFDS directory'}: {said} "
            f"Prepare it once: tfds.builder({name!r}, data_dir=..., file_format='array_record').download_and_prepare()"
        ) from error


def _require_own_features(data_dir: str, name: str) -> None:
    """UserError if a prepared data set names classes of other packages for its features: TFDS would import them.

    A data set may come from anywhere, as a recipe may, and importing a module runs it.
    """
    from etils import epath

    folder = epath.Path(data_dir) / re.split("[/:]", name)[0]
    for file in (file for depth in ("", "*/", "*/*/") for file in folder.glob(f"{depth}features.json")):
        foreign = [found for found in _classes(file.read_text()) if not found.startswith("tensorflow_datasets.")]
        if foreign:
            raise UserError(
                f"{str(file)!r} names the class {foreign[0]!r}; only features of tensorflow_datasets are read"
            )


def _classes(text: str) -> Iterator[str]:
    """The dotted names of classes in a `features.json`, in either of its two forms. None where the text is no JSON."""
    found: list[tuple[str, str]] = []
    with suppress(ValueError, RecursionError):
        json.loads(text, object_pairs_hook=found.extend)
    for key, value in found:
        if key in ("type", "pythonClassName", "python_class_name") and isinstance(value, str) and "." in value:
            yield value
        if key == "json" and isinstance(value, str):
            yield from _classes(value)
