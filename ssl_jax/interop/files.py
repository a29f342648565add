"""Weight files: safetensors, alone, in folders as Hugging Face and timm lay them out, and in the hub's local cache.

Nothing of a file is run, and nothing is allocated that is larger than the file: the header's sizes are compared with it first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ssl_jax.data.files import opened as opened_regular
from ssl_jax.errors import UserError
from ssl_jax.interop.hub import cached, is_repository, snapshot
from ssl_jax.interop.pickled import PICKLED, unpickled
from ssl_jax.interop.rules import Tensors
from ssl_jax.recipe.values import fits, read_json

LARGEST_HEADER = 32 << 20  # bytes; that of a model of 10,000 tensors has about one million
WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "diffusion_pytorch_model.safetensors")
RUN = "checkpoints"  # a folder that run directories have
INDEX = "model.safetensors.index.json"
DAMAGED = "it is damaged or no such file; fetch it again and compare its digest"


@dataclass(frozen=True)
class Weights:
    """Tensors by name, each read when it is looked at; what config.json beside them says; and where they are."""

    tensors: Tensors
    config: Mapping[str, Any]
    where: str

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        if isinstance(self.tensors, Safetensors):
            return sum(os.path.getsize(path) for path in dict.fromkeys(self.tensors.places.values()))
        return sum(x.nbytes for x in self.tensors.values())


def opened(path: str | os.PathLike[str], download: bool = False) -> Weights:
    """The weights that `path` names: a file, a folder, or the id of a repository ("org/name") in the hub's local cache.

    `download` fetches a repository that is not there. Raises UserError for what is missing, damaged or refused.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return folder(place)
    if os.path.lexists(place):
        return single(place)
    if is_repository(str(path)):
        return folder(cached(str(path), download))
    raise UserError(f"{path}: no such file or folder of weights; name a .safetensors file, or a folder that has one")


def is_weights(word: str, download: bool = False) -> bool:
    """Whether a word names weights and no run directory: a file, a folder with one, a repository that is here or fetched."""
    place = Path(word).expanduser()
    if place.is_dir():
        return not (place / RUN).is_dir() and any(p.suffix in (".safetensors", *PICKLED) for p in place.glob("*"))
    if os.path.lexists(place):
        return place.suffix in (".safetensors", *PICKLED)
    return is_repository(word) and (download or snapshot(word) is not None)


def single(path: Path) -> Weights:
    """One file, with the config.json beside it."""
    if path.suffix in PICKLED:
        return Weights(unpickled(path), config_of(path.parent), str(path))
    return Weights(Safetensors(dict.fromkeys(names_in(path), path)), config_of(path.parent), str(path))


def folder(path: Path) -> Weights:
    """A folder that has `model.safetensors`, shards with their index, or one weight file of another name."""
    if (path / RUN).is_dir():
        raise UserError(f"{path} is a run directory; start from it with init_from.workdir={path}, or ssl-jax export it")
    if (path / INDEX).exists():
        return Weights(Safetensors(sharded(path)), config_of(path), str(path))
    known = [path / name for name in WEIGHTS if (path / name).exists()]
    found = known or sorted(p for p in path.glob("*") if p.suffix in (".safetensors", *PICKLED))
    best = [p for p in found if p.suffix == ".safetensors"] or found
    if len(best) != 1 and not known:
        has = ", ".join(p.name for p in best[:4]) or "none"
        raise UserError(
            f"{path} has no model.safetensors and not one weight file beside it ({has}); name the file itself"
        )
    one = single(best[0])
    return Weights(one.tensors, one.config, str(path))


def sharded(path: Path) -> dict[str, Path]:
    """Which file of a folder has which tensor. UserError where index and files disagree."""
    index = read_json(path / INDEX)
    if not fits(index, {"weight_map": {str: str}}):
        raise UserError(f"{path / INDEX} has no weight_map of names to files; {DAMAGED}")
    shards = dict.fromkeys(index["weight_map"].values())
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(
                f"{path / INDEX} names the file {name!r}, which is no safetensors file of this folder; {DAMAGED}"
            )
    held = {name: set(names_in(path / name)) for name in shards}
    missing = [tensor for tensor, shard in index["weight_map"].items() if tensor not in held[shard]]
    if missing:
        shard = index["weight_map"][missing[0]]
        raise UserError(
            f"{path / shard} lacks {len(missing)} tensors of the index, as {missing[0]}; fetch the folder again"
        )
    return {tensor: path / shard for tensor, shard in index["weight_map"].items()}


def config_of(path: Path) -> dict[str, Any]:
    """What config.json says, and open_clip_config.json and preprocessor_config.json beside it; {} where there is none."""
    made: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "open_clip_config.json", "config.json"):
        if (path / name).exists():
            found = read_json(path / name)
            if not isinstance(found, dict):
                raise UserError(f"{path / name} is no JSON object; {DAMAGED}")
            made |= found
    return made


def names_in(path: Path) -> list[str]:
    """The names of a safetensors file, once its header was found to be what the file holds."""
    with _read(path) as file:
        return list(file.keys())


class Safetensors(Mapping[str, np.ndarray]):
    """Tensors of one file or several, by name."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self.places = places

    def __getitem__(self, name: str) -> np.ndarray:
        with _read(self.places[name]) as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which is not read."""
        with _read(self.places[name]) as file:
            return tuple(file.get_slice(name).get_shape())


def _read(path: Path) -> Any:
    """An open safetensors file."""
    try:
        _check_header(path)
        return safe_open(path, "numpy")
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is no safetensors file that can be read: {_reason(error)}; {DAMAGED}") from error


def _check_header(path: Path) -> None:
    """ValueError unless the header that the first eight bytes announce lies in the file, and is of a sane size."""
    with os.fdopen(opened_regular(path), "rb") as file:
        size, first = os.fstat(file.fileno()).st_size, file.read(8)
    announced = int.from_bytes(first, "little")
    if len(first) < 8 or announced > size - 8:
        raise ValueError(f"it has {size} bytes, and its header should have {announced}")
    if announced > LARGEST_HEADER:
        raise ValueError(f"its header has {announced} bytes, more than the {LARGEST_HEADER} that are read")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0]
