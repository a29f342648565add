"""The records of another source that an index file names: `ssl-jax data subset` writes one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl_jax.data import files
from ssl_jax.data.sources.arrays import HASH_ROWS, spread
from ssl_jax.data.sources.base import Source
from ssl_jax.data.sources.subset import Chosen, require_source
from ssl_jax.errors import UserError

FORMAT = "ssl_jax subset 1"


@dataclass(frozen=True, eq=False)
class Indexed(Chosen):
    """The records of `source` that the file `index` names; as a string, `subset:/data/clean.json`.

    The file says how many records there are to choose from, and a digest of names of those that were chosen: where these are
    other ones by now, it is refused. Records keep the order that they have in `source`.

    Raises:
      UserError: a `source` that is none, no such file, or one that was made of other records.
    """

    source: Source
    index: str
    ids: np.ndarray = field(init=False, repr=False)
    classes: tuple[str, ...] = field(init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total, said = len(require_source(self.source)), read(self.index)
        ids = np.unique(np.array(said["ids"], np.int64))
        if said["of"] != total or not len(ids) or ids[-1] >= total:
            raise UserError(f"{self.index!r} chooses from {said['of']} records, and there are {total}; make it again")
        if said["names"] != names_digest(self.source, ids):
            raise UserError(
                f"{self.index!r} was made when its records had other names; make it again: ssl-jax data subset"
            )
        self._choose(ids)


def index_of(source: Source, text: str, ids: np.ndarray, how: list[str]) -> dict[str, Any]:
    """What an index file holds: the records `ids` of the source that `text` names, chosen as `how` says."""
    names = names_digest(source, ids)
    return {"format": FORMAT, "source": text, "of": len(source), "how": how, "names": names, "ids": ids.tolist()}


def read(path: str) -> dict[str, Any]:
    """An index file. UserError for anything else."""
    try:
        said = json.loads(files.read(path))
        sound = said["format"] == FORMAT and all(type(i) is int and 0 <= i < 2**31 for i in said["ids"])
        if sound and isinstance(said["source"], str) and isinstance(said["of"], int):
            return said
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path!r} cannot be read as an index of records ({error}); ssl-jax data subset makes one"
        ) from error
    raise UserError(f"{path!r} is no index of records; ssl-jax data subset makes one")


def names_digest(source: Source, ids: np.ndarray) -> str:
    """SHA-256 of what (evenly spread) 4,096 of the records `ids` at most are called."""
    named = getattr(source, "name_of", str)
    names = "\n".join(named(int(ids[i])) for i in spread(len(ids), HASH_ROWS))
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
