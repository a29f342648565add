"""Objects that a recipe names: `target="package.module:Name"` and the options of its constructor."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.values import did_you_mean, typed


@dataclass(frozen=True)
class Component:
    """A class named by dotted path with options for its constructor, not imported until `build` or `check`.

        Component("ssl_jax.objectives.simclr:SimCLR", {"temperature": 0.2}).build(encoder=model, augment=augment)

    `where` is its place in the recipe, for messages; `allow` the packages besides `ssl_jax` that it may come from.
    """

    target: str
    options: Mapping[str, Any]
    where: str = "component"
    allow: tuple[str, ...] = ()

    def build(self, allow: Iterable[str] = (), **given: Any) -> Any:
        """The object: `target(**options, **given)`, where `given` are the arguments that the caller provides.

        Raises UserError for a module that was not allowed, an unknown or missing option, or one of the wrong type.
        """
        made = self.resolve(allow)
        options = self._checked(made, tuple(given))
        try:
            inspect.signature(made).bind(**options, **given)
            return made(**options, **given)
        except TypeError as error:
            raise UserError(f"{self.where}: {made.__name__} could not be made: {error}{_place(error)}") from error

    def check(self, allow: Iterable[str] = (), given: Iterable[str] = ()) -> None:
        """As `build` without making the object: the target exists and takes these options (and the names `given`)."""
        self._checked(self.resolve(allow), tuple(given))

    def resolve(self, allow: Iterable[str] = ()) -> type:
        """The class that `target` names. Only classes defined in `ssl_jax` or an allowed package are accepted."""
        module_name, _, name = self.target.partition(":")
        where = f"{self.where}.target={self.target!r}"
        if not all(part.isidentifier() for part in [*module_name.split("."), name]):
            raise UserError(f"{where}: write it as 'package.module:Name'")
        allowed = ("ssl_jax", *self.allow, *allow)
        if not _inside(module_name, allowed):
            raise UserError(
                f"{where} is outside ssl_jax, and a config may run only code that you allowed; "
                f"if you trust it, add --allow {module_name} (or --allow path/to/{module_name.partition('.')[0]}.py)"
            )
        module = _import(module_name, where)
        found = getattr(module, name, None)
        if found is None:
            names = [n for n, v in vars(module).items() if isinstance(v, type) and _inside(v.__module__, allowed)]
            raise UserError(f"{where}: {module_name} has no {name}{did_you_mean(name, names)}")
        # A module also holds what it imported (subprocess, shutil); a config must not reach those through it.
        if not isinstance(found, type) or not _inside(found.__module__, allowed):
            raise UserError(f"{where}: {name} is not a class defined in {' or '.join(allowed)}; name a class")
        return found

    def _checked(self, made: type, given: tuple[str, ...]) -> dict[str, Any]:
        parameters = inspect.signature(made).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return dict(self.options)
        free = [p for p in parameters if p not in given and p not in ("parent", "name")]
        for key in given:
            if key in self.options:
                raise UserError(f"{self.where}.{key} is provided by the trainer; remove it from the recipe")
            if key not in parameters:
                raise UserError(f"{self.target} does not take '{key}', which ssl_jax passes to it; add it as a field")
        for key, value in self.options.items():
            if key not in parameters:
                raise UserError(
                    f"{self.where}.{key}={value!r}: {made.__name__} ({self.target}) has no option "
                    f"'{key}'{did_you_mean(key, free)} Its options: {', '.join(free) or 'none'}"
                )
        required = [p for p in free if parameters[p].default is inspect.Parameter.empty and p not in self.options]
        if required:
            raise UserError(f"{self.where} needs {', '.join(required)} for {made.__name__} ({self.target})")
        hints = _hints(made)
        return {k: typed(v, hints.get(k, Any), f"{self.where}.{k}") for k, v in self.options.items()}


def _inside(module: str, packages: Iterable[str]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def _import(name: str, where: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name != missing and not name.startswith(missing + "."):
            raise UserError(
                f"{where}: importing {name} needs the module {missing!r}, which is not installed"
            ) from error
        parent = sys.modules.get(name.rpartition(".")[0])
        known = [m.name for m in pkgutil.iter_modules(parent.__path__, parent.__name__ + ".")] if parent else []
        hint = "" if known else " It must lie beside the recipe, in the current folder or on PYTHONPATH"
        raise UserError(f"{where}: there is no module {missing!r}{did_you_mean(name, known)}{hint}") from error


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


def allowed_factory(target: str, where: str, allow: Iterable[str]) -> Callable[..., Any]:
    """The function or class that `target` ('package.module:name') names, if it is defined in a package of `allow`."""
    module_name, _, name = target.partition(":")
    where, allowed = f"{where}={target!r}", tuple(allow)
    if not all(part.isidentifier() for part in [*module_name.split("."), name]):
        raise UserError(f"{where}: write it as 'package.module:name'")
    if not _inside(module_name, allowed):
        raise UserError(
            f"{where}: a config may run only code that you allowed; if you trust it, add --allow {module_name}"
        )
    module = _import(module_name, where)
    found = getattr(module, name, None)
    if found is None:
        names = [n for n, v in vars(module).items() if callable(v) and _inside(getattr(v, "__module__", ""), allowed)]
        raise UserError(f"{where}: {module_name} has no {name}{did_you_mean(name, names)}")
    if not isinstance(found, type | types.FunctionType) or not _inside(found.__module__, allowed):
        raise UserError(f"{where}: {name} is no function or class defined in {' or '.join(allowed)}")
    return found
