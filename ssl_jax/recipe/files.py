"""Recipe files: the shipped ones, the user's own, and where Python finds what lies beside them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterable
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
    return sorted((_described(path, _tree(path)) for path in _files(folder)), key=lambda r: r.name)


def own_recipes(folder: Path) -> list[Shipped]:
    """The recipes among the user's own files under `folder`: those with a `get_config`. UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"recipes {folder}: no such folder; name the folder that holds your recipes")
    trees = {path: _tree(path) for path in _files(folder)}
    found = [_described(path, tree) for path, tree in trees.items() if _is_recipe(tree)]
    if not found:
        raise UserError(f'recipes {folder}: no .py file in it defines get_config(arg=""), which makes a recipe')
    return found


def _files(folder: Path) -> list[Path]:
    hidden = lambda path: any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)  # noqa: E731
    return [p for p in sorted(folder.rglob("*.py")) if not hidden(p)]


def _tree(path: Path) -> ast.Module:
    """The file as syntax, nothing executed; an empty one where it cannot be read."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return ast.Module([], [])


def _is_recipe(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "get_config" for node in tree.body)


def _described(path: Path, tree: ast.Module) -> Shipped:
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    texts = [text for node in tree.body for text in _result(node)]
    return Shipped(path.stem, summary, path, str(texts[-1]) if texts else "")


def _result(node: ast.stmt) -> list[Any]:
    """What a line `RESULT = <constant>` says; nothing of another line."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
        return []
    return [node.value.value] if [getattr(t, "id", None) for t in node.targets] == ["RESULT"] else []


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
        stems = [f.stem for f in (*path.parent.glob("*.py"), *_files(configs_dir()))]
        raise UserError(f"--config {name}: no such file{_near(path.stem, stems)}")
    files = _files(configs_dir())
    found = [p for p in files if name in (p.stem, p.relative_to(configs_dir()).with_suffix("").as_posix())]
    if len(found) > 1:
        names = " or ".join(p.relative_to(configs_dir()).with_suffix("").as_posix() for p in found)
        raise UserError(f"--config {name} is the name of {len(found)} recipes; say {names}")
    if not found:
        near = _near(name, [p.stem for p in files])
        raise UserError(f"--config {name}: no shipped recipe has this name{near}")
    return found[0]


def _near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown recipe: the nearest names, or the whole list where none is near."""
    near = did_you_mean(name, dict.fromkeys(known), most=3)
    return f"{near} {listing()}" if near == "." else f"{near} `ssl-jax recipes` lists all of them."


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
    return modules_in(Path(name).resolve().parent)


def modules_in(folder: Path) -> tuple[str, ...]:
    """The names of the modules and packages that lie in a folder."""
    modules = [p.stem for p in folder.glob("*.py")] + [p.parent.name for p in folder.glob("*/__init__.py")]
    return tuple(sorted(m for m in modules if m.isidentifier()))


def flags_to_allow(needed: Iterable[str], spec: str, given: Iterable[str]) -> tuple[str, ...]:
    """The `--allow` values without which a run directory may not import the modules `needed` that its recipe `spec` names.

    They are what the user gave, and the files of the modules that lie beside the recipe, or the recipe's folder where they are
    several; none where it names no such module.
    """
    folder, beside = Path(split_spec(spec)[0]).parent, neighbours(spec)
    roots = dict.fromkeys(name.partition(".")[0] for name in needed)
    files = [str(folder / (root if (folder / root).is_dir() else f"{root}.py")) for root in roots if root in beside]
    missing = [file for file in files if file not in given]
    if len(missing) > 1 and not (folder / "__init__.py").is_file():  # with it the folder would name a package
        missing = [os.path.join(folder, "")]
    return tuple(dict.fromkeys([*given, *missing])) if roots else ()


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
