"""Which run a directory holds: a random name given at its start, and what its recipe was allowed to become since.

Both stand in env.json; the name stands beside every checkpoint too, so that one which was copied from elsewhere shows.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.values import read_json


@dataclass(frozen=True)
class Identity:
    """`name`: of the run, "" if it began before runs had names. `allow_change`: keys, or sections, of this start's flags.

    `allowed`: key -> the values (as `repr` shows them) that earlier starts gave it with permission.
    """

    name: str = ""
    allow_change: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def permits(self, key: str, value: str) -> bool:
        """Whether the recipe's `key` may be `value`, though a checkpoint says otherwise."""
        return covered(key, self.allow_change) or value in self.allowed.get(key, ())

    def allowing(self, changed: Mapping[str, tuple[str, str]]) -> Identity:
        """This, and the new values of `changed` allowed from now on."""
        more = {key: tuple(dict.fromkeys((*self.allowed.get(key, ()), new))) for key, (_, new) in changed.items()}
        return Identity(self.name, self.allow_change, {**self.allowed, **more})

    def to_env(self) -> dict[str, Any]:
        """Its entries of env.json."""
        return {"run": self.name, "allow_config_change": list(self.allow_change), "allowed_changes": dict(self.allowed)}


def named() -> str:
    """A name that no other run has."""
    return secrets.token_hex(8)


def covered(key: str, flags: Iterable[str]) -> bool:
    """Whether one of `flags` is `key` or a section that holds it."""
    return any(key == flag or key.startswith(flag + ".") for flag in flags)


def identity(workdir: Path) -> Identity:
    """That of a run directory, as far as its env.json can be read."""
    return from_env(entries(workdir / "env.json"))


def entries(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file; {} if there is none, or it is not one."""
    try:
        value = read_json(path)
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}


def from_env(env: Mapping[str, Any]) -> Identity:
    """Inverse of `Identity.to_env`; entries of another kind are as if they were not there."""
    name, flags, allowed = (env.get(key) for key in ("run", "allow_config_change", "allowed_changes"))
    values = allowed.items() if isinstance(allowed, dict) else ()
    return Identity(
        name if isinstance(name, str) else "", _strings(flags), {key: _strings(value) for key, value in values}
    )


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()
