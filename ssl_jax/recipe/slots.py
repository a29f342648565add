"""What may be built where: a `config.json` is data from anywhere, so each place in a recipe takes one kind of thing only.

Inside `ssl_jax` a class is accepted from the rooms of its slot alone, and if it is what the slot takes. No other module is
imported for a recipe, since there are classes whose constructors start programs or truncate files. Code from elsewhere runs
only if the user allowed its module, and a section still takes only what is meant for it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.recipe.values import did_you_mean, shown

LONGEST = 300  # characters of a dotted path


@dataclass(frozen=True)
class Slot:
    """What one place in a recipe takes.

    `takes` says it in words. Classes of ssl_jax come from its `rooms`; all extend one of the classes `bases`
    ("package.module:Name", none for any) and have the `members`. Components among the options of such a class go by
    the slot `inside`, or by this one.
    """

    takes: str
    rooms: tuple[str, ...]
    bases: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    inside: Slot | None = None

    @property
    def nested(self) -> Slot:
        """The slot of components among the options of what stands here."""
        return self.inside or self

    def accepts(self, found: type) -> bool:
        """Whether `found` is of this kind, wherever it comes from."""
        lacking = [name for name in self.members if not any(name in vars(c) for c in found.__mro__)]
        return not lacking and (not self.bases or issubclass(found, tuple(map(_base, self.bases))))

    def classes(self) -> Iterator[type]:
        """Every public class of ssl_jax that may stand here. Imports the modules of the rooms."""
        for name in modules_of(self.rooms):
            for key, found in sorted(vars(importlib.import_module(name)).items()):
                here = isinstance(found, type) and found.__module__ == name and not key.startswith("_")
                if here and self.accepts(found):
                    yield found


MODALITIES = tuple(f"ssl_jax.data.{kind}" for kind in ("image", "text", "audio", "series", "video", "pairs"))

SOURCE = Slot(
    "a source of records (a class with __len__, __getitem__ and fingerprint)",
    ("ssl_jax.data.sources", *MODALITIES),
    members=("__len__", "__getitem__", "fingerprint"),
)
LINEN, ADAPTATION = "flax.linen:Module", "ssl_jax.adapt.base:Adaptation"
MODEL = Slot("a Linen module (flax.linen.Module)", ("ssl_jax.models",), (LINEN,))
AUGMENT = Slot("an augment (a class with __call__ and evaluation)", MODALITIES, members=("__call__", "evaluation"))
OBJECTIVE = Slot(
    "an objective (a subclass of ssl_jax.objectives.base:Objective)",
    ("ssl_jax.objectives",),
    ("ssl_jax.objectives.base:Objective",),
    inside=Slot(
        "a Linen module, or an adaptation (ssl_jax.adapt.base:Adaptation)",
        ("ssl_jax.models", "ssl_jax.adapt"),
        (LINEN, ADAPTATION),
    ),
)
PROBE = Slot("a probe (a class with columns and run)", ("ssl_jax.evaluate.probes",), members=("columns", "run"))

# The place of a component in a recipe -> what it takes. Named models (`model.image`) are each in the slot of `model`.
SLOTS = {
    "objective": OBJECTIVE,
    "model": MODEL,
    "augment": AUGMENT,
    "data.pretrain": SOURCE,
    "data.probe": SOURCE,
    "data.test": SOURCE,
    "evaluate.probes": PROBE,
}
# A component that code names itself, outside of a recipe: anything that some place in a recipe takes.
ANY = Slot("something that a recipe may name", tuple(dict.fromkeys(r for s in SLOTS.values() for r in s.rooms)))


class Path(NamedTuple):
    """A target taken apart, and where it stands, for messages."""

    module: str
    name: str
    where: str


def path_of(target: str, where: str) -> Path:
    """`"package.module:Name"` taken apart; UserError for anything else, names with a leading underscore among it."""
    module, _, name = target.partition(":")
    where = f"{where}={shown(target)}"
    if len(target) > LONGEST or not all(part.isidentifier() for part in [*module.split("."), name]):
        raise UserError(f"{where}: write it as 'package.module:Name'")
    if name.startswith("_"):
        raise UserError(f"{where}: {name} is private to its module; name a public class")
    return Path(module, name, where)


def class_at(target: str, where: str, slot: Slot, allow: Iterable[str] = (), needed: Iterable[str] = ()) -> type:
    """The class that `target` names, if the slot takes it and it comes from ssl_jax or a module of `allow`.

    `needed` are all modules outside of ssl_jax that the recipe names, so that one message tells every one to be allowed.
    """
    path, allow = path_of(target, f"{where}.target"), tuple(a for a in allow if not inside(a, ("ssl_jax",)))
    if inside(path.module, ("ssl_jax",)):
        _require_room(path, path.module, slot)
    elif not inside(path.module, allow):
        raise _not_allowed(path, allow, needed)
    found = getattr(imported(path), path.name, None)
    if found is None:
        raise _no_such_name(path, ("ssl_jax", *allow))
    # A module also holds what it imported (subprocess, shutil); a config must not reach those through it.
    if not isinstance(found, type) or not inside(found.__module__, ("ssl_jax", *allow)):
        allowed = " or ".join(("ssl_jax", *allow))
        raise UserError(f"{path.where}: {path.name} is not a class defined in {allowed}; name a class")
    if inside(found.__module__, ("ssl_jax",)):
        _require_room(path, found.__module__, slot)
    if not slot.accepts(found):
        raise UserError(f"{path.where}: this place takes {slot.takes}, and {path.name} is none")
    return found


def factory_at(
    target: str, where: str, known: Collection[str] = (), allow: Iterable[str] = (), needed: Iterable[str] = ()
) -> Callable[..., Any]:
    """The function or class that `target` names: one of `known` (`"optax:lion"`), or of a module of `allow`.

    For `optimizer.name` and `schedule.name`. UserError for what is in neither; nothing is imported then.
    """
    path, allow = path_of(target, where), tuple(a for a in allow if not inside(a, ("ssl_jax",)))
    if target not in known:
        if inside(path.module, ("ssl_jax", *(k.partition(":")[0] for k in known))):
            near = f"{did_you_mean(target, known)} They are {', '.join(known)}" if known else "; use its short name"
            raise UserError(f"{path.where}: this is none of those that may be named{near}")
        if not inside(path.module, allow):
            raise _not_allowed(path, allow, needed)
    found = getattr(imported(path), path.name, None)
    if found is None:
        raise _no_such_name(path, allow)
    if target not in known and not (callable(found) and inside(getattr(found, "__module__", None) or "", allow)):
        raise UserError(f"{path.where}: {path.name} is not a function or class defined in {' or '.join(allow)}")
    return found


def inside(module: str, packages: Iterable[str]) -> bool:
    """Whether a module is one of `packages` or lies in one."""
    return any(module == p or module.startswith(p + ".") for p in packages)


@functools.cache
def modules_of(rooms: tuple[str, ...]) -> list[str]:
    """The names of the modules that lie in `rooms`, as far as the rooms are there. Imports the rooms themselves."""
    found = []
    for room in rooms:
        parent, _, name = room.rpartition(".")
        siblings = importlib.import_module(parent).__path__
        if name in {m.name for m in pkgutil.iter_modules(siblings)}:
            package = importlib.import_module(room)
            found += [room, *(m.name for m in pkgutil.walk_packages(package.__path__, room + "."))]
    return found


def imported(path: Path) -> Any:
    """The module of a path; UserError if it is not there, or needs one that is not."""
    name = path.module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name != missing and not name.startswith(missing + "."):
            raise UserError(
                f"{path.where}: importing {name} needs the module {missing!r}, which is not installed"
            ) from error
        parent = sys.modules.get(name.rpartition(".")[0])
        known = [m.name for m in pkgutil.iter_modules(parent.__path__, parent.__name__ + ".")] if parent else []
        hint = "" if known else " It must lie beside the recipe, in the current folder or on PYTHONPATH"
        raise UserError(f"{path.where}: there is no module {missing!r}{did_you_mean(name, known)}{hint}") from error


def _base(target: str) -> type:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _require_room(path: Path, module: str, slot: Slot) -> None:
    """UserError unless `module`, of ssl_jax, lies in a room of the slot. Nothing of it is imported before this."""
    if not inside(module, slot.rooms):
        misspelt = path.module not in sys.modules
        near = did_you_mean(path.module, modules_of(slot.rooms)) if misspelt else "."
        raise UserError(
            f"{path.where}: this place takes {slot.takes}, and {module} holds none{near} "
            f"ssl_jax has them in {', '.join(slot.rooms)}"
        )


def _not_allowed(path: Path, allow: Iterable[str], needed: Iterable[str]) -> UserError:
    missing = dict.fromkeys([path.module, *(m for m in needed if not inside(m, allow))])
    flags = " ".join(f"--allow {module}" for module in missing)
    file = f"path/to/{path.module.partition('.')[0]}.py"
    return UserError(
        f"{path.where} is outside ssl_jax, and a config may run only code that you allowed; "
        f"if you trust it, add {flags} (or --allow {file}, or --allow with the folder that holds them)"
    )


def _no_such_name(path: Path, allowed: Iterable[str]) -> UserError:
    held = vars(sys.modules[path.module])
    names = [n for n, v in held.items() if callable(v) and inside(getattr(v, "__module__", None) or "", allowed)]
    return UserError(f"{path.where}: {path.module} has no {path.name}{did_you_mean(path.name, names)}")
