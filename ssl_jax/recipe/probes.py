"""What a recipe says of a probe: a short name, a dotted path, or `dict(target=..., name=..., **options)`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.component import Component
from ssl_jax.recipe.slots import PROBE
from ssl_jax.recipe.values import shown

ROOM = "ssl_jax.evaluate.probes"
PROBES = ("linear", "knn", "fewshot")
Entry = str | Mapping[str, Any]


def probe_name(entry: Entry) -> str:
    """The name of a probe's file in `eval/`: its own, a short one, or that of its class (of the module for a `Probe`)."""
    if isinstance(entry, str) and ":" not in entry:
        return entry
    given = entry if isinstance(entry, Mapping) else {"target": entry}
    module, _, kind = str(given.get("target", "")).partition(":")
    named = module.rpartition(".")[2] if kind == "Probe" else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    name = given.get("name", named)
    if isinstance(name, str) and name.isidentifier():
        return name
    raise UserError(
        f"evaluate.probes: {shown(entry)} has no name; write 'linear', 'package.module:Name', or "
        "dict(target='package.module:Name', name='mine')"
    )


def probe_component(entry: Entry, allow: tuple[str, ...] = ()) -> Component:
    """The probe as a component: of `ssl_jax.evaluate.probes`, or of an allowed package."""
    name = probe_name(entry)
    where = f"evaluate.probes[{name}]"
    if isinstance(entry, str) and ":" not in entry:
        if not (name.isidentifier() and importlib.util.find_spec(f"{ROOM}.{name}")):
            raise UserError(f"evaluate.probes: {name!r} is unknown; use any of {', '.join(PROBES)}")
        return Component(f"{ROOM}.{name}:Probe", {}, where, allow, PROBE)
    options = {"target": entry} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "name"}
    return Component(str(options.pop("target", "")), options, where, allow, PROBE)
