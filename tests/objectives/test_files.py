"""Objectives stay short, and what two of them need stands once."""

import ast
from itertools import combinations
from pathlib import Path

import ssl_jax.objectives

FILES = sorted(Path(ssl_jax.objectives.__file__).parent.glob("*.py"))
RUN = 12


def logic(path: Path) -> list[str]:
    """Lines of code without imports, docstrings, comments and blank lines."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [n for n in body if not isinstance(n, ast.Import | ast.ImportFrom) and not _is_text(n)]
            node.body = kept or [ast.Pass()]
    return [line.strip() for line in ast.unparse(tree).splitlines() if line.strip()]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def runs(lines: list[str]) -> set[tuple[str, ...]]:
    return {tuple(lines[i : i + RUN]) for i in range(len(lines) - RUN + 1)}


def test_no_objective_has_more_than_200_lines():
    # base.py is the contract; its docstrings are most of it.
    long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 200 and p.name != "base.py"}
    assert not long


def test_no_run_of_a_dozen_lines_of_logic_stands_in_two_objectives():
    found = {p.name: runs(logic(p)) for p in FILES}
    assert any(found.values())
    shared = {(a, b): found[a] & found[b] for a, b in combinations(found, 2) if found[a] & found[b]}
    assert not shared
