"""Objects that a recipe names: `target="package.module:Name"` and the options of its constructor, which may hold others."""

from __future__ import annotations

import functools
import inspect
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.slots import ANY, MODEL, Slot, class_at
from ssl_jax.recipe.values import did_you_mean, plain, shown, typed

# Fields of Linen modules: those that Flax sets, and those that name a type.
_FLAX, _DTYPES = ("parent", "name"), ("dtype", "param_dtype")


@dataclass(frozen=True)
class Component:
    """A class named by dotted path with options for its constructor, not imported until `build` or `check`.

        Component("ssl_jax.objectives.simclr:SimCLR", {"temperature": 0.2}).build(encoder=model, augment=augment)

    Options, at any depth, that are mappings with a `target` are components too, and are built where they stand. `where` is
    its place in the recipe, for messages; `allow` the packages besides `ssl_jax` that it may come from; `slot` what its place
    takes; `needed` every module outside ssl_jax that its recipe names.
    """

    target: str
    options: Mapping[str, Any]
    where: str = "component"
    allow: tuple[str, ...] = ()
    slot: Slot = field(default=ANY, repr=False)
    needed: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def build(self, allow: Iterable[str] = (), **given: Any) -> Any:
        """The object: `target(**options, **given)`, where `given` are the arguments that the caller provides.

        Everything in it is checked before any of it is made. Raises UserError for a module that was not allowed, a class that
        its place does not take, an unknown or missing option, or one of the wrong type.
        """
        allow = tuple(allow)
        self.check(allow, given)
        return self._made(allow, given)

    def check(self, allow: Iterable[str] = (), given: Iterable[str] = ()) -> None:
        """As `build` without making the object: the target exists and takes these options (and the names `given`)."""
        allow = tuple(allow)
        self._checked(self.resolve(allow), tuple(given))
        self._nested(lambda part: part.check(allow))

    def resolve(self, allow: Iterable[str] = ()) -> type:
        """The class that `target` names: one that the slot takes, defined in `ssl_jax` or an allowed package."""
        return class_at(self.target, self.where, self.slot, (*self.allow, *allow), self.needed)

    def example(self, allow: Iterable[str] = ()) -> Any:
        """What the class's `example(**options)` gives, nested components by their own; None where one has no such method."""
        made = getattr(self.resolve(allow), "example", None)
        nested = self._nested(lambda part: part.example(allow))
        return None if made is None or _holds_none(nested) else made(**{**self.options, **nested})

    def _made(self, allow: tuple[str, ...], given: Mapping[str, Any]) -> Any:
        made = self.resolve(allow)
        options = self._checked(made, tuple(given)) | self._nested(lambda part: part._made(allow, {}))
        try:
            inspect.signature(made).bind(**options, **given)
            return made(**options, **given)
        except TypeError as error:
            raise UserError(f"{self.where}: {made.__name__} could not be made: {error}{_place(error)}") from error

    def _nested(self, act: Callable[[Component], Any]) -> dict[str, Any]:
        """The options that hold components, with `act(component)` in the place of each."""
        held = {key: value for key, value in self.options.items() if any(components_in(value))}
        return {key: self._replaced(value, f"{self.where}.{key}", act) for key, value in held.items()}

    def _replaced(self, value: Any, where: str, act: Callable[[Component], Any]) -> Any:
        if is_component(value):
            options = {k: v for k, v in value.items() if k != "target"}
            return act(Component(value["target"], options, where, self.allow, self.slot.nested, self.needed))
        if isinstance(value, Mapping):
            return {k: self._replaced(v, f"{where}.{k}", act) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return tuple(self._replaced(v, f"{where}[{i}]", act) for i, v in enumerate(value))
        return value

    def _checked(self, made: type, given: tuple[str, ...]) -> dict[str, Any]:
        """The options as the parameters of `made` want them; UserError for those that it does not take, lacks, or are wrong."""
        parameters, own = inspect.signature(made).parameters, _FLAX if _is_linen(made) else ()
        self._refuse(own, f"is set by Flax in {made.__name__}")
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return dict(self.options)
        self._refuse(given, "is provided by the trainer")
        free = [p for p in parameters if p not in given and p not in own]
        self._require_known(made, free, [key for key in given if key not in parameters])
        self._require_stated(made, [p for p in free if parameters[p].default is inspect.Parameter.empty])
        return self._typed(made)

    def _refuse(self, keys: Iterable[str], why: str) -> None:
        for key in keys:
            if key in self.options:
                raise UserError(f"{self.where}.{key} {why}; remove it from the recipe")

    def _require_known(self, made: type, free: list[str], untaken: list[str]) -> None:
        for key in untaken:
            raise UserError(f"{self.target} does not take '{key}', which ssl_jax passes to it; add it as a field")
        for key, value in self.options.items():
            if key not in free:
                raise UserError(
                    f"{self.where}.{key}={shown(value)}: {made.__name__} ({self.target}) has no option "
                    f"'{key}'{did_you_mean(key, free)} Its options: {', '.join(free) or 'none'}{self._others(made, key)}"
                )

    def _require_stated(self, made: type, required: list[str]) -> None:
        missing = [key for key in required if key not in self.options]
        if missing:
            raise UserError(f"{self.where} needs {', '.join(missing)} for {made.__name__} ({self.target})")

    def _typed(self, made: type) -> dict[str, Any]:
        hints = _hints(made)
        values = {k: typed(v, hints.get(k, Any), f"{self.where}.{k}") for k, v in self.options.items()}
        for key in _DTYPES if _is_linen(made) else ():
            if isinstance(values.get(key), str):
                check_dtype(values[key], f"{self.where}.{key}")
        return values

    def _others(self, made: type, key: str) -> str:
        """The end of a message: which classes of ssl_jax that could stand here have the option that `made` has not."""
        known = self.slot.classes() if self.slot is not ANY and made.__module__.startswith("ssl_jax.") else ()
        have = [f"{c.__name__} ({c.__module__}:{c.__name__})" for c in known if key in inspect.signature(c).parameters]
        return f". '{key}' is an option of {', '.join(have[:3])}" if have else ""


@dataclass(frozen=True)
class Components:
    """Several components by name, as a recipe with `model=dict(image=dict(target=...), text=dict(target=...))` has them."""

    parts: Mapping[str, Component]

    def build(self, allow: Iterable[str] = ()) -> Any:
        """`flax.core.FrozenDict` of name -> object, which hashes. All are checked before one is made."""
        from flax.core import FrozenDict

        self.check(allow)
        return FrozenDict({name: part.build(allow) for name, part in self.parts.items()})

    def check(self, allow: Iterable[str] = ()) -> None:
        """As `build` without making the objects."""
        for part in self.parts.values():
            part.check(allow)


def _holds_none(nested: Mapping[str, Any]) -> bool:
    """Whether one of the options that stood for components, or for several, has become None."""
    return any(value is None or (isinstance(value, tuple) and None in value) for value in nested.values())


def is_component(value: Any) -> bool:
    """Whether `value` is a mapping that names a class: with a `target` that is a string."""
    return isinstance(value, Mapping) and isinstance(value.get("target"), str)


def components_in(value: Any) -> Iterator[Any]:
    """The mapping of every component in a plain value, at any depth, outermost first."""
    if is_component(value):
        yield value
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from components_in(part)


def option_places(config: Mapping[str, Any], path: str) -> list[str]:
    """`path` in a plain recipe; an option of `model` stands for that of each model, and of each that is nested in one:
    `model.dtype` for `model.image.dtype`, `model.text.dtype` and `model.text.encoder.dtype`.
    """
    section, _, option = path.partition(".")
    return [f"{place}.{option}" for place in _places("model", config["model"])] if section == "model" else [path]


def _places(place: str, value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return []
    deeper = [found for key, part in value.items() for found in _places(f"{place}.{key}", part)]
    return [place, *deeper] if is_component(value) else deeper


def with_model_option(
    config: Mapping[str, Any], option: str, value: Any, allow: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The plain recipe with `option` set in each of its models, nested ones too, whose class has it."""
    made = deepcopy(plain(config))
    for part in components_in(made["model"]):
        if hasattr(Component(part["target"], {}, "model", allow, MODEL).resolve(), option):
            part[option] = value
    return made


FLOATS = ("float32", "bfloat16", "float16", "float64")
DTYPE_NAMES = {
    "bf16": "bfloat16", "bfloat": "bfloat16", "fp16": "float16", "f16": "float16", "half": "float16", "fp32": "float32",
    "f32": "float32", "single": "float32", "float": "float32", "fp64": "float64", "f64": "float64", "double": "float64",
}  # fmt: skip


def check_dtype(name: str, where: str) -> None:
    """UserError, with the name that jax has for it, unless `name` is a floating-point type to compute in."""
    near = DTYPE_NAMES.get(name.lower().rpartition(".")[2])
    if near or not _is_float(name):
        hint = f"; did you mean {near!r}?" if near else did_you_mean(name, FLOATS)
        raise UserError(
            f"{where}={shown(name)}: no type to compute in has this name{hint} Use one of {', '.join(FLOATS)}"
        )


def _is_float(name: str) -> bool:
    from jax import numpy as jnp

    try:
        return bool(jnp.issubdtype(jnp.dtype(name), jnp.floating))
    except (TypeError, ValueError, SyntaxError):  # numpy reads a name with commas as a Python literal
        return False


def _is_linen(made: type) -> bool:
    return any((c.__module__, c.__name__) == ("flax.linen.module", "Module") for c in made.__mro__)


@functools.cache
def _hints(made: type) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for source in (getattr(made, "__init__", None), made):
        try:
            hints |= typing.get_type_hints(source)
        except (NameError, TypeError, AttributeError):  # names that exist only for type checkers: leave unchecked
            continue
    return hints


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    own = Path(frame.filename).name
    return "" if own in ("inspect.py", "component.py") else f" (at {own}:{frame.lineno})"
