"""docs/architecture.md and the imports agree: floors, the arrows that run back up, how many there are, who names a method.

An arrow leads from one room to another that it imports, whether at the top of a module, inside a function or for type
checkers only: who reads the code follows all three. A class named by dotted path in a string is data, and no arrow.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ssl_jax"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Floors\n")[2].partition("\n## ")[0]

Arrow = tuple[str, str]


def dotted(path: Path) -> str:
    """`data/sources/base.py` -> `data.sources.base`, `data/__init__.py` -> `data`, `__init__.py` -> ``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return module.partition(".")[0] or "__init__"


def names(node: ast.AST) -> list[str]:
    """What an import statement may load: `from a import b` loads `a`, and `a.b` where that is a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


MODULES = {dotted(path): path for path in PACKAGE.rglob("*.py")}
# The package itself is run before any of its modules, whoever imports it: to import its version is no arrow.
IMPORTS = {
    module: {
        name.removeprefix("ssl_jax.")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in names(node)
        if name.startswith("ssl_jax.") and name.removeprefix("ssl_jax.") in MODULES
    }
    for module, path in MODULES.items()
}
ROOMS = {room(module) for module in MODULES}
ARROWS = {(room(a), room(b)) for a, found in IMPORTS.items() for b in found if room(a) != room(b)}


def documented_floors() -> dict[str, int]:
    """Rooms of the block under "Floors", which has the top floor in its first line."""
    lines = SECTION.partition("```\n")[2].partition("```")[0].splitlines()
    return {name: floor for floor, line in enumerate(reversed(lines)) for name in line.split()}


def documented(verb: str) -> set[Arrow]:
    """Lines such as "* `training` -> `evaluate`: why", with a reason."""
    return set(re.findall(rf"^\* `([\w.]+)` {verb} `([\w.]+)`: \S", SECTION, re.MULTILINE))


def by(arrow: Arrow) -> list[str]:
    return sorted(f"{a} -> {b}" for a, found in IMPORTS.items() for b in found if (room(a), room(b)) == arrow)


def test_every_room_stands_on_a_floor():
    assert set(documented_floors()) == ROOMS


def test_imports_go_down_unless_the_page_says_why():
    floors = documented_floors()
    up = {arrow for arrow in ARROWS if floors[arrow[0]] <= floors[arrow[1]]}
    assert up == documented("->"), {arrow: by(arrow) for arrow in up ^ documented("->")}


def test_the_page_counts_the_rooms_and_their_arrows():
    assert f"{len(ARROWS)} arrows between {len(ROOMS)} rooms" in SECTION


def test_at_most_six_modules_stand_on_the_ground_floor():
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_nothing_but_objectives_names_a_method():
    methods = {f"objectives.{path.stem}" for path in (PACKAGE / "objectives").glob("*.py")}
    methods -= {"objectives.__init__", "objectives.base"}
    naming = {(a, b) for a, found in IMPORTS.items() for b in found & methods if room(a) != "objectives"}
    assert naming == documented("names")
