"""The recipe that a command is given, and the code that the user allowed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_jax.commands.shared.cpu_devices import pretend_cpu_devices
from ssl_jax.errors import UserError
from ssl_jax.rundir import terminal

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from ssl_jax.recipe.automatic import Machine


def here() -> Machine:
    """What this machine has to train with."""
    from ssl_jax.devices.machine import this_machine

    return this_machine()


Say = Callable[[str], None]


def recipe_of(arguments: Namespace, say: Say = terminal.tell, machine: Callable[[], Machine] = here) -> tuple:
    """The ConfigDict and Recipe of --config or --data, with overrides, and the code that the user allowed.

    `say` is told what followed an overridden batch size, and what was found in the data and decided. Where there is no --config
    the recipe is chosen for the `machine`.
    """
    from ssl_jax.recipe.files import listing

    if arguments.config is None and arguments.data is None:
        raise UserError(
            f"{arguments.command} needs --config RECIPE. {listing()}\n"
            "To resume a run with its own recipe: --config its/directory/config.json. For pictures of your own one is chosen: "
            "--data FOLDER"
        )
    if arguments.cpu_devices is not None:
        pretend_cpu_devices(arguments.cpu_devices)
    allow = allowed(arguments.allow)  # before a recipe is read that may need it
    config = _config(arguments, say, machine)
    return config, checked(arguments, config, allow)


def checked(arguments: Namespace, config: Any, allow: tuple[str, ...]) -> Any:
    """The Recipe in a ConfigDict that is complete, with the code that the user allowed; UserError for what does not exist."""
    from ssl_jax.optim import optimizers
    from ssl_jax.recipe import neighbours, parse

    recipe = parse(config, allow=(*neighbours(arguments.config or ""), *allow))
    recipe.check()
    optimizers.check(recipe.optimizer, recipe.schedule, recipe.objective.allow)
    return recipe


def _config(arguments: Namespace, say: Say, machine: Callable[[], Machine]) -> ConfigDict:
    """The recipe that was named or chosen, on the data that was named, with overrides."""
    from ml_collections import ConfigDict

    from ssl_jax.recipe import load, plain
    from ssl_jax.recipe.own_data import learning_from, refuse_within

    if arguments.data is None:
        return load(arguments.config, arguments.overrides, say)
    if getattr(arguments, "workdir", None):
        refuse_within(arguments.workdir, arguments.data)
    base = load(arguments.config, (), say) if arguments.config else _chosen(arguments, say, machine)
    return ConfigDict(learning_from(arguments.data, plain(base), arguments.overrides, say))


def _chosen(arguments: Namespace, say: Say, machine: Callable[[], Machine]) -> ConfigDict:
    """The recipe of the run that is to go on, or else one that suits the data and the machine."""
    from ssl_jax.recipe import load
    from ssl_jax.recipe.automatic import choose
    from ssl_jax.recipe.own_data import pictures_in

    started = Path(getattr(arguments, "workdir", None) or "") / "config.json"
    if started.is_file() and arguments.command == "train":
        return load(str(started))
    choice = choose(pictures_in(arguments.data), machine())
    for reason in choice.reasons:
        say(reason)
    return load(choice.recipe, choice.overrides)


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
