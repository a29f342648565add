"""The recipe that a command is given, and the code that the user allowed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssl_jax.commands.shared.cpu_devices import pretend_cpu_devices
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal


def recipe_of(arguments: Namespace, say: Callable[[str], None] = terminal.tell) -> tuple:
    """The ConfigDict and Recipe of --config, with overrides, and the code that the user allowed.

    `say` is told what followed an overridden batch size.
    """
    from ssl_jax.recipe import load
    from ssl_jax.recipe.files import listing

    if arguments.config is None:
        raise UserError(
            f"{arguments.command} needs --config RECIPE. {listing()}\n"
            "To resume a run with its own recipe: --config its/directory/config.json"
        )
    if arguments.cpu_devices is not None:
        pretend_cpu_devices(arguments.cpu_devices)
    config = load(arguments.config, arguments.overrides, say)
    return config, checked(arguments, config)


def checked(arguments: Namespace, config: Any) -> Any:
    """The Recipe in a ConfigDict that is complete, with the code that the user allowed; UserError for what does not exist."""
    from ssl_jax.optim import optimizers
    from ssl_jax.recipe import neighbours, parse

    recipe = parse(config, allow=(*neighbours(arguments.config or ""), *allowed(arguments.allow)))
    recipe.check()
    optimizers.check(recipe.optimizer, recipe.schedule, recipe.objective.allow)
    return recipe


def allowed(names: Sequence[str]) -> tuple[str, ...]:
    """Module names of --allow, with the folders where they lie on the import path."""
    return tuple(dict.fromkeys(module for name in names for module in _modules_named(name)))


def _modules_named(name: str) -> tuple[str, ...]:
    """What one --allow names: a .py file, a folder (a package, or the modules in it), or a module."""
    from ssl_jax.recipe import add_to_path
    from ssl_jax.recipe.files import modules_in

    path, is_module = Path(name), all(part.isidentifier() for part in name.split("."))
    if name.endswith(".py"):
        if not path.is_file():
            raise UserError(f"--allow {name}: no such file; name a .py file, or a module")
        add_to_path(path.parent)
        return (path.stem,)
    if (path / "__init__.py").is_file():
        add_to_path(path.resolve().parent)
        return (path.resolve().name,)
    if path.is_dir() and not is_module:
        add_to_path(path)
        return modules_in(path)
    if is_module:
        add_to_path(Path.cwd())
        return (name,)
    raise UserError(f"--allow {name}: write a module name (my_package.my_idea) or a path to a .py file or a folder")
