"""Sources of records named by a string: `folder:/photos`, `tfds:imagenet2012/train?size=256`, or a path that is there.

A string becomes the component that a dict would say (`target` and options), and this is what `config.json` keeps. What stands
after `?` are options of the source, `name=value&name=value`. Paths become absolute, so that a run opens again from anywhere.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.slots import SOURCE
from ssl_jax.recipe.values import did_you_mean, shown

Options = dict[str, Any]
Say = Callable[[str], None]


class Scheme(NamedTuple):
    """What `scheme:rest` stands for: a class, its options from `rest`, and which options of another source it can take over.

    A path without a scheme is of the first scheme that has its suffix. A folder is, where it holds files of a scheme that takes
    `patterns` of them: it stands for all of these.
    """

    target: str
    options: Callable[[str], Options]
    takes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    patterns: bool = False


PICTURES = ("size", "channels", "max_pixels", "pixels")  # the options of every source of encoded pictures
TEXTS = ("tokenizer", "length", "vocabulary")  # of every source of texts
SOUNDS = ("rate", "seconds", "channels", "windows")  # of every source of recordings
RECORDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # suffixes that say what a folder holds
AUDIO = ("audio", "audio_list")  # schemes of recordings
CLIPS = ("size", "frames", "stride", "channels", "max_pixels")  # of every source of video
PLACES = ("data.pretrain", "data.probe", "data.test")
_SCHEME, _OPTIONS = re.compile(r"([a-z][a-z0-9_]*):(.*)", re.DOTALL), re.compile(r"\?(?=[a-z_]+=)")
_WEIGHT = re.compile(r"(?:^|,)\s*(\d+(?:\.\d*)?|\.\d+)\*")  # of a part of a mixture, before it
_MIX = "mix:"
_LOOKED_AT = 64  # names in a folder that say what it holds


def path_as(option: str) -> Callable[[str], Options]:
    """`rest` is a path, or a pattern of paths, and goes to this option."""
    return lambda rest: {option: absolute(rest)}


def name_as(option: str, default: str) -> Callable[[str], Options]:
    """`rest` is a name, `default` where there is none, and goes to this option."""
    return lambda rest: {option: rest or default}


def absolute(path: str) -> str:
    """A path from the root of the file system; links stay as they are, and so do addresses of stores."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def of_tfds(rest: str) -> Options:
    """`name/split`, `name/config:1.0.0/train[:90%]`."""
    name, _, split = rest.rpartition("/")
    if not name:
        raise UserError(f"'tfds:{rest}' has no split; write e.g. tfds:{rest or 'imagenet2012'}/train")
    return {"name": name, "split": split}


def of_idx(rest: str) -> Options:
    """A file of images, and that of the labels if it lies beside it under the usual name."""
    images = absolute(rest)
    labels = _beside(images, (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"), ("images", "labels")))
    return {"images": images} | ({} if labels is None else {"labels": labels})


def of_arrays(rest: str) -> Options:
    """A `.npz` with fields of their own, or a `.npy` of images and that of the labels if it lies beside it."""
    images = absolute(rest)
    if not images.endswith(".npy"):
        return {"arrays": images}
    labels = _beside(images, (("images", "labels"), ("image", "label"), ("x_", "y_"), ("x.npy", "y.npy")))
    return {"arrays": {"image": images} | ({} if labels is None else {"label": labels})}


def of_index(rest: str) -> Options:
    """The index file that `ssl-jax data subset` wrote, and the source that it chooses from."""
    from ssl_jax.data.sources.indexed import read

    index = absolute(rest)
    source = read(index)["source"]
    if "subset:" in source:
        raise UserError(
            f"{index!r} chooses from {source!r}; an index file chooses from a source, and not from another one"
        )
    return {"source": source, "index": index}


def _beside(path: str, names: Iterable[tuple[str, str]]) -> str | None:
    """The file that is called like `path` with one part of its name replaced, if it is there."""
    folder, name = os.path.split(path)
    found = (os.path.join(folder, name.replace(*pair)) for pair in names if pair[0] in name)
    return next((other for other in found if os.path.isfile(other)), None)


_SOURCES = "ssl_jax.data.sources:"
SCHEMES = {
    "folder": Scheme(f"{_SOURCES}ImageFolder", path_as("root"), PICTURES),
    "list": Scheme(f"{_SOURCES}FileList", path_as("file"), PICTURES, (".txt", ".csv", ".tsv")),
    "tfds": Scheme(f"{_SOURCES}Tfds", of_tfds, ("size", "channels")),
    "arrayrecord": Scheme(
        f"{_SOURCES}ArrayRecords", path_as("files"), PICTURES, (".array_record", ".arrayrecord"), True
    ),
    "tar": Scheme(f"{_SOURCES}Tar", path_as("files"), PICTURES, (".tar",), True),
    "parquet": Scheme(f"{_SOURCES}Parquet", path_as("files"), PICTURES, (".parquet",), True),
    "text": Scheme(f"{_SOURCES}TextFiles", path_as("root"), TEXTS),
    "jsonl": Scheme(f"{_SOURCES}JsonLines", path_as("files"), TEXTS, (".jsonl", ".ndjson"), True),
    "parquet_text": Scheme(f"{_SOURCES}ParquetTexts", path_as("files"), TEXTS),
    "pairs": Scheme(f"{_SOURCES}Pairs", path_as("path"), (*PICTURES, *TEXTS, "rate", "seconds")),
    "tokens": Scheme(f"{_SOURCES}TokenShards", path_as("root"), ("length", "vocabulary")),
    "series": Scheme(
        f"{_SOURCES}SeriesFiles",
        path_as("files"),
        ("window", "length", "normalise"),
        (".ts",),
        True,
    ),
    "audio": Scheme(f"{_SOURCES}AudioFolder", path_as("root"), SOUNDS),
    "audio_list": Scheme(f"{_SOURCES}AudioList", path_as("file"), SOUNDS),
    "video": Scheme(f"{_SOURCES}VideoFolder", path_as("root"), (*CLIPS, "rate")),
    "frames": Scheme(f"{_SOURCES}FrameFolder", path_as("root"), CLIPS),
    "raw": Scheme(f"{_SOURCES}Raw", path_as("files"), (), (".pixels.npy",), True),
    "idx": Scheme(f"{_SOURCES}Idx", of_idx, ("limit", "pixels"), ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")),
    "npy": Scheme(f"{_SOURCES}Arrays", of_arrays, ("limit", "pixels"), (".npy", ".npz")),
    "subset": Scheme(f"{_SOURCES}Indexed", of_index),
    "embedded": Scheme(f"{_SOURCES}Embedded", name_as("split", "pretrain"), ("limit",)),
    "fashion_mnist": Scheme(f"{_SOURCES}FashionMNIST", name_as("split", "pretrain"), ("limit",)),
}


_DEFAULTS = ("embedded", "fashion_mnist")  # schemes after which nothing need follow
_NAMED = (*_DEFAULTS, "tfds")  # schemes that are followed by a name, and no path


def component(text: str, before: Mapping[str, Any], where: str, say: Say = lambda line: None) -> Options:
    """What a string says as `{"target": ..., **options}`; what was guessed is told to `say`.

    Options of the source that stood there `before` are taken over where the new one has them, below those after `?`.
    UserError for a scheme that is none, a path without a scheme that is not there, or options that are none.
    """
    found = named(text, where, say)
    scheme = SCHEMES[found.scheme]
    kept = {key: before[key] for key in scheme.takes if before.get(key) is not None}
    made = {"target": scheme.target, **kept, **scheme.options(found.rest), **read_options(found.tail, where)}
    return resolved(made, before, where, say)


def opened(text: str, where: str, say: Say = lambda line: None, **usual: Any) -> Any:
    """The source that a string names, for commands: `usual` options hold where the string says nothing else."""
    options = resolved(text, usual, where, say)
    return Component(options.pop("target"), options, where, slot=SOURCE).build()


def written(text: str) -> str:
    """A string that names a source, with its scheme, and with a path from the root of the file system."""
    if text.startswith(_MIX):
        return text
    found = named(text, "SRC")
    return found.with_rest(found.rest if found.scheme in _NAMED else absolute(found.rest))


def resolved(value: Any, before: Mapping[str, Any], where: str, say: Say = lambda line: None) -> Any:
    """What stands at a place for a source, with every string in it as a component: parts of mixtures and of subsets too."""
    if isinstance(value, str):
        return (
            mixture(_parts(value, where), before, where, say)
            if value.startswith(_MIX)
            else component(value, before, where, say)
        )
    if not isinstance(value, Mapping):
        return value
    if "mix" in value and "target" not in value:
        return mixture(_pairs(value, where), before, where, say)
    if not str(value.get("target", "")).startswith("ssl_jax."):
        return dict(value)
    one, several = value.get("source"), value.get("sources")
    inner = {} if one is None else {"source": resolved(one, before, f"{where}.source", say)}
    if isinstance(several, tuple):
        inner["sources"] = tuple(resolved(part, before, f"{where}.sources[{i}]", say) for i, part in enumerate(several))
    return {**value, **inner}


def mixture(parts: Iterable[tuple[Any, float]], before: Mapping[str, Any], where: str, say: Say) -> Options:
    """The component of a mixture of (source, weight), which are called by their strings or numbers."""
    sources, weights = zip(*parts, strict=True)
    made = tuple(resolved(source, before, f"{where}.mix[{i}]", say) for i, source in enumerate(sources))
    names = tuple(source if isinstance(source, str) else str(i) for i, source in enumerate(sources))
    return {"target": f"{_SOURCES}Mix", "sources": made, "weights": weights, "names": names}


def _parts(text: str, where: str) -> list[tuple[str, float]]:
    """`mix:0.75*folder:/a,0.25*tar:/b.tar` as its sources and weights."""
    start, *rest = _WEIGHT.split(text.removeprefix(_MIX))
    if start or not rest:
        raise UserError(f"{where}={shown(text)}: write a mixture as mix:0.75*folder:/a,0.25*folder:/b")
    return [(source, float(weight)) for weight, source in zip(rest[::2], rest[1::2], strict=True)]


def _pairs(value: Mapping[str, Any], where: str) -> list[tuple[Any, float]]:
    """`dict(mix={a: 0.75, b: 0.25})`, or `dict(mix=((a, 0.75), (b, 0.25)))` where names have dots, as sources and weights."""
    given, others = value["mix"], [key for key in value if key != "mix"]
    pairs = list(given.items() if isinstance(given, Mapping) else given if isinstance(given, tuple) else ())
    odd = not pairs or any(not isinstance(pair, tuple) or len(pair) != 2 or not _is_weight(pair[1]) for pair in pairs)
    if odd or others:
        raise UserError(f"{where}={shown(value)}: write a mixture as dict(mix=((source, weight), (source, weight)))")
    return pairs


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def with_sources(config: Mapping[str, Any], say: Say = lambda line: None) -> dict[str, Any]:
    """A plain recipe with the strings in its places for sources as components."""
    data = config.get("data")
    if not isinstance(data, Mapping):
        return dict(config)
    usual = usual_options(config)
    found = {k: resolved(v, usual, f"data.{k}", say) for k, v in data.items() if f"data.{k}" in PLACES}
    return {**config, "data": {**data, **found}}


def with_source(config: Mapping[str, Any], place: str, text: str, say: Say = lambda line: None) -> dict[str, Any]:
    """The section `data` of a plain recipe with the source that a string names at one of `PLACES`.

    It takes over what the recipe's own source there had; how many records that had does not hold any more.
    """
    data, split = config["data"], place.removeprefix("data.")
    made = resolved(text, usual_options(config) | options_of(data.get(split)), place, say)
    return {**data, split: made} | ({"examples": None} if split == "pretrain" else {})


def options_of(value: Any) -> Options:
    """The options of a source, and of the one that it is a part of, or the first that it is made of."""
    if not isinstance(value, Mapping):
        return {}
    several = value.get("sources") or (None,)
    return {**options_of(value.get("source")), **options_of(several[0]), **value}


def usual_options(config: Mapping[str, Any]) -> Options:
    """Options of a source where neither string nor recipe says them: pictures a seventh larger than what is cut from them, texts
    in the tokens of the augmentation and as long as the model's rows, sounds at its rate; of several modalities, those of each.
    """
    model, augment = config.get("model"), config.get("augment")
    augment = augment if isinstance(augment, Mapping) else {}
    if isinstance(parts := augment.get("parts"), Mapping):
        models = model if isinstance(model, Mapping) else {}
        each = (usual_options({"model": models.get(name), "augment": part}) for name, part in parts.items())
        return {name: value for options in each for name, value in options.items()}
    size, rate = augment.get("size"), augment.get("rate")
    longest = max(size) if isinstance(size, tuple) and size else size
    pictures = {"size": round(longest * 8 / 7)} if isinstance(longest, int) else {}
    return pictures | ({"rate": rate} if isinstance(rate, int) else {}) | _texts(model, augment)


def with_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """A plain recipe whose `augment.tokenizer`, where it is a file that is there, has a path from the root; in its parts too."""
    augment = config.get("augment")
    if not isinstance(augment, Mapping):
        return dict(config)
    if isinstance(parts := augment.get("parts"), Mapping):
        each = {name: with_tokenizer({"augment": part})["augment"] for name, part in parts.items()}
        return {**config, "augment": {**augment, "parts": each}}
    if not isinstance(augment.get("tokenizer"), str):
        return dict(config)
    return {**config, "augment": {**augment, "tokenizer": _file(augment["tokenizer"])}}


def _file(name: str) -> str:
    return os.path.abspath(name) if os.path.isfile(name) else name


def _texts(model: Any, augment: Mapping[str, Any]) -> Options:
    """The usual options of texts for a model."""
    encoder = model.get("encoder", model) if isinstance(model, Mapping) else {}
    length = encoder.get("length") if isinstance(encoder, Mapping) else None
    tokenizer = augment.get("tokenizer")
    found = {"tokenizer": _file(tokenizer) if isinstance(tokenizer, str) else None, "length": length}
    found |= {"vocabulary": augment.get("vocabulary")}
    return {name: value for name, value in found.items() if value and isinstance(value, str | int | Mapping)}


class Named(NamedTuple):
    """A string taken apart: `scheme:rest?tail`."""

    scheme: str
    rest: str
    tail: str

    def with_rest(self, rest: str) -> str:
        """The string with something else in its middle."""
        return f"{self.scheme}:{rest}" + (f"?{self.tail}" if self.tail else "")

    def with_option(self, option: str) -> str:
        """The string with one option more, `name=value`."""
        return f"{self.scheme}:{self.rest}?{self.tail + '&' if self.tail else ''}{option}"


def named(text: str, where: str, say: Say = lambda line: None) -> Named:
    """A string taken apart; a path that is there has the scheme that its name or content says, which is told to `say`."""
    head, *tail = _OPTIONS.split(text, maxsplit=1)
    scheme, rest = _scheme(head, where, say)
    if not rest and scheme not in _DEFAULTS:
        raise UserError(f"{where}={shown(text)}: nothing follows '{scheme}:'; say where the records are")
    return Named(scheme, rest, "".join(tail))


def _scheme(text: str, where: str, say: Say) -> tuple[str, str]:
    match = _SCHEME.fullmatch(text)
    if match and match[1] in SCHEMES:
        return match[1], match[2]
    path = os.path.expanduser(text)
    if not os.path.exists(path):
        unknown = did_you_mean(match[1], SCHEMES) if match else "."
        what = f"no source is named {match[1]!r}" if match else "no such file or folder"
        known = ", ".join(f"{name}:" for name in SCHEMES)
        raise UserError(f"{where}={shown(text)}: {what}{unknown} Write a path, or one of {known} and what they read")
    found = _in_folder(path) if os.path.isdir(path) else (_by_suffix(path), text)
    say(f"{where}={text} is taken as {found[0]}:{found[1]}")
    return found


def _by_suffix(path: str) -> str:
    for name, scheme in SCHEMES.items():
        if path.lower().endswith(scheme.suffixes or ("\0",)):
            return name
    known = ", ".join(suffix for scheme in SCHEMES.values() for suffix in scheme.suffixes)
    raise UserError(f"{path!r}: its name does not say what it holds; say it as scheme:path. Known by name: {known}")


def _in_folder(path: str) -> tuple[str, str]:
    """What a folder is: files of a scheme that takes patterns of them, or else a folder of pictures."""
    with os.scandir(path) as entries:
        names = [entry.name for entry, _ in zip(entries, range(_LOOKED_AT), strict=False)]
    for name, scheme in SCHEMES.items():
        for suffix in scheme.suffixes if scheme.patterns else ():
            if any(found.endswith(suffix) for found in names):
                return name, os.path.join(path, f"*{suffix}")
    return "audio" if _holds_recordings(path, names) else "folder", path


def _holds_recordings(path: str, names: Iterable[str]) -> bool:
    """Whether a file in a folder, or in the first folder in it, has the suffix of a recording."""
    inside = next((os.path.join(path, name) for name in sorted(names) if os.path.isdir(os.path.join(path, name))), None)
    deeper = () if inside is None else os.listdir(inside)[:_LOOKED_AT]
    return any(name.lower().endswith(RECORDINGS) for name in (*names, *deeper))


def read_options(tail: str, where: str) -> Options:
    """`name=value&name=value` as options. UserError for what is none."""
    pairs = [pair.partition("=") for pair in tail.split("&")] if tail else []
    wrong = [f"{key}{equals}{value}" for key, equals, value in pairs if not (key.isidentifier() and equals and value)]
    if wrong:
        raise UserError(f"{where}: {wrong[0]!r} after '?' is no option; write name=value&name=value")
    return {key: _literal(value) for key, _, value in pairs}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
