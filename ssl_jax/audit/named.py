"""The data that a word of the command line names: a source (`folder:/photos`), a recipe's, or that of a run directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.recipe import load, neighbours, parse
from ssl_jax.recipe.files import split_spec
from ssl_jax.recipe.sources import opened

SIZE = 224  # of the pictures of a folder, where the encoder that looks at them says nothing else


class Named(NamedTuple):
    """A source with the word that named it. `part` is the place in a recipe where it stood, or ""."""

    word: str
    source: Any
    part: str = ""

    def told(self) -> str:
        """For people: `folder:/photos, 400 records`."""
        return f"{self.word}{f' ({self.part})' if self.part else ''}, {len(self.source):,} records"


def named(word: str, part: str, say: Callable[[str], None], allow: tuple[str, ...] = (), size: int = SIZE) -> Named:
    """The source that `word` names; of a recipe or run directory the one at `data.<part>`, else at `data.pretrain`.

    UserError for a word that names nothing, and what opening the source raises.
    """
    spec = _recipe(word)
    if spec is None:
        return Named(word, opened(word, f"--{part}", say, size=size))
    data = parse(load(spec), allow=(*neighbours(spec), *allow)).data
    place = "test" if part == "eval" and data.test is not None else "pretrain"
    return Named(word, getattr(data, place).build(), f"data.{place}")


def _recipe(word: str) -> str | None:
    """The recipe that a word names, None for a source."""
    from ssl_jax.recipe.files import find

    path = Path(word)
    if (path / "config.json").is_file():
        return str(path / "config.json")
    if path.is_dir():
        return None
    try:
        find(split_spec(word)[0])
    except UserError:
        return None
    return word
