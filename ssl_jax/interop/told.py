"""What a weight file is, for people: its family, its sizes, and the sections of a recipe that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_jax.interop.fitting import some
from ssl_jax.interop.importing import Imported, flat


def told(found: Imported) -> str:
    """Several lines: what it is, what a recipe says to have the same encoder, and how to go on."""
    arrays = flat(found.variables)
    count = sum(x.size for x in arrays.values())
    lines = [
        f"{found.where}: {found.family.name} ({found.family.about})",
        f"encoder: {count:,} parameters in {len(arrays)} arrays, {4 * count / 2**20:,.1f} MiB in float32",
        *([f"its names begin with {found.prefix!r}"] if found.prefix else []),
        *([f"beside it, not read: {some(found.beside, 3)}"] if found.beside else []),
        *([f"no place for: {some(found.left_over)}"] if found.left_over else []),
        "",
        f"model={section(found.model)}",
    ]
    if found.pixels:
        size = {} if found.size is None else {"size": found.size}
        lines += [f"augment: {', '.join(f'{k}={v!r}' for k, v in (size | found.pixels).items())}"]
    return "\n".join(
        [*lines, "", f"Next: ssl-jax train --config RECIPE --workdir DIR --config.init_from.weights={found.where}"]
    )


def section(value: Mapping[str, Any], indent: str = "") -> str:
    """A section as a recipe has it: `dict(...)`, one option a line, those of nested ones further in."""
    inner = f"{indent}    "
    shown = {k: section(v, inner) if isinstance(v, Mapping) else repr(v) for k, v in value.items()}
    return "dict(\n" + "".join(f"{inner}{k}={v},\n" for k, v in shown.items()) + f"{indent})"
