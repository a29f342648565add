"""Recipe files: the shipped ones, the user's own, and where Python finds what lies beside them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.values import did_you_mean


@dataclass(frozen=True)
class Shipped:
    """A recipe that comes with the package: its name, first docstring line, file, and what it reached (`RESULT`)."""

    name: str
    summary: str
    path: Path
    result: str


def configs_dir() -> Path:
    """The shipped recipes: inside the package (installed from a wheel) or beside it (a clone)."""
    package = Path(__file__).parents[1]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def recipes(folder: Path | None = None) -> list[Shipped]:
    """Every recipe under `folder` (default: the shipped ones), by name. The files are read, not executed."""
    folder = configs_dir() if folder is None else folder
    return sorted((_described(path) for path in _files(folder)), key=lambda r: r.name)


def _files(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*.py")) if not p.name.startswith("_")]


def _described(path: Path) -> Shipped:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    result = ""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["RESULT"]:
            result = str(ast.literal_eval(node.value))
    return Shipped(path.stem, summary, path, result)


def split_spec(spec: str) -> tuple[str, str]:
    """`"configs/x.py:tiny"` -> `("configs/x.py", "tiny")`; the argument is "" where there is none."""
    name, colon, arg = spec.rpartition(":")
    return (name, arg) if colon and "/" not in arg else (spec, "")


def find(name: str) -> Path:
    """The file of `name`: a path to a .py or .json file, or the name of a shipped recipe (`x` or `image/x`).

    Raises UserError with the nearest name and the list.
    """
    if name.endswith((".py", ".json")):
        path = Path(name)
        if path.is_file():
            return path
        near = did_you_mean(path.stem, [f.stem for f in (*_files(configs_dir()), *path.parent.glob("*.py"))])
        raise UserError(f"--config {name}: no such file{near} {listing()}")
    files = _files(configs_dir())
    found = [p for p in files if name in (p.stem, p.relative_to(configs_dir()).with_suffix("").as_posix())]
    if len(found) > 1:
        names = " or ".join(p.relative_to(configs_dir()).with_suffix("").as_posix() for p in found)
        raise UserError(f"--config {name} is the name of {len(found)} recipes; say {names}")
    if not found:
        hint = did_you_mean(name, [p.stem for p in files])
        raise UserError(f"--config {name}: no shipped recipe has this name{hint} {listing()}")
    return found[0]


def listing() -> str:
    """The names of the shipped recipes, as the end of a message."""
    names = "\n  ".join(r.name for r in recipes()) or "(none)"
    return f"A path to your own recipe ends in .py. Shipped recipes:\n  {names}"


def add_to_path(folder: Path) -> None:
    """Let `import` find the modules in `folder`, before those installed, as it does for a script there."""
    text = str(folder.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)


def neighbours(spec: str) -> tuple[str, ...]:
    """Modules beside the recipe file that the user typed, whose code is as much theirs as the recipe itself.

    Empty for shipped recipes by name and for JSON, which is data from anywhere.
    """
    name, _ = split_spec(spec)
    if not name.endswith(".py"):
        return ()
    folder = Path(name).resolve().parent
    modules = [p.stem for p in folder.glob("*.py")] + [p.parent.name for p in folder.glob("*/__init__.py")]
    return tuple(sorted(m for m in modules if m.isidentifier()))


def run_recipe(path: Path, arg: str) -> Any:
    """What `get_config(arg)` of the recipe file returns. This executes the file."""
    add_to_path(path.parent)
    spec = importlib.util.spec_from_file_location("_recipe_" + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        if get_config is None:
            raise UserError(f'{path} has no get_config(arg=""); define it and return a ConfigDict')
        if not arg:
            return get_config()
        if not inspect.signature(get_config).parameters:
            raise UserError(f"{path} takes no argument, but :{arg} was given; drop it, or write get_config(arg)")
        return get_config(arg)
    except UserError:
        raise
    except Exception as error:
        line = _line(error, path)
        raise UserError(f"the recipe {path}{line} failed: {type(error).__name__}: {error}") from error


def _line(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}," if error.lineno else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == path.name]
    return f", line {lines[-1]}," if lines else ""
