"""The model card of an exported encoder: README.md, from what the run directory knows. Licences are left to the user."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ssl_jax.report.record import Record
from ssl_jax.report.scores import Score, scores
from ssl_jax.rundir.log import rounded


class About(NamedTuple):
    """What was exported: the run's `record`, which encoder of which step, in which format, how to load it, what to beware of."""

    record: Record
    encoder: str
    step: int
    format: str
    loading: str
    told: tuple[str, ...]


def card(about: About) -> str:
    """The whole page, in Markdown."""
    parts = (
        _front(about),
        _what(about),
        _loading(about),
        _training(about),
        _results(about),
        _limits(about),
        _recipe(about),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(about: About) -> str:
    library = {"timm": "timm", "hf": "transformers"}.get(about.format, "jax")
    lines = (f"library_name: {library}", "license:  # fill in", "tags: [self-supervised, ssl_jax]")
    return "\n".join(("---", *lines, "---"))


def _what(about: About) -> str:
    objective = str(about.record.config.get("objective", {}).get("target", "")).rpartition(":")[2]
    return (
        f"# {about.record.path.resolve().name}\n\nThe {about.encoder} encoder of a run of {objective}, pretrained without "
        f"labels, after step {about.step:,}. Exported by `ssl-jax export --format {about.format}`."
    )


def _loading(about: About) -> str:
    return f"## To load it\n```python\n{about.loading}\n```"


def _training(about: About) -> str:
    env, config = about.record.env, about.record.config
    data = config.get("data", {}).get("pretrain", {})
    lines = [
        f"* objective: `{config.get('objective', {}).get('target')}`",
        f"* data: `{json.dumps(data, sort_keys=True)}`, {env.get('records', '?')} records, fingerprint `{env.get('data', '?')}`",
        f"* augmentation: `{config.get('augment', {}).get('target')}`",
        f"* batches of {config.get('batch_size')}, seed {config.get('seed')}",
        f"* software: {_versions(env)}",
    ]
    return "\n".join(
        ["## Training", *lines, "* licence of the data: (fill in)", "* licence of these weights: (fill in)"]
    )


def _versions(env: Mapping[str, Any]) -> str:
    packages = env.get("packages")
    own = {"ssl_jax": f"{env.get('ssl_jax', '?')} ({env.get('commit', '?')})", "python": env.get("python", "?")}
    found = own | (packages if isinstance(packages, dict) else {})
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _results(about: About) -> str:
    found = scores(about.record.evaluations)
    if not found.rows:
        return "## Results\nNot evaluated: `ssl-jax eval` beside the run, and export again."
    rows = [[row, *(_cell(cells.get(column)) for column in found.columns)] for row, cells in found.rows.items()]
    table = _table(["features", *found.columns], rows)
    return "\n".join(["## Results", table, "", found.protocol, *found.notes])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _cell(score: Score | None) -> str:
    if score is None:
        return "-"
    if not score.percent:
        return str(rounded(score.value))
    spread = f" ± {100 * score.std:.1f}" if score.std is not None else ""
    ends = f" ({' to '.join(f'{100 * end:.1f}' for end in score.interval)})" if score.interval else ""
    return f"{100 * score.value:.1f} %{spread}{ends}"


def _limits(about: About) -> str:
    known = (
        "Features are as good as the table says on data like that above, and nothing is known of other data.",
        "What is in the pretraining data, its gaps and its biases are in the features; nobody looked for them here.",
    )
    return "\n".join(["## Limits", *(f"* {line}" for line in (*about.told, *known))])


def _recipe(about: About) -> str:
    recipe = json.dumps(about.record.config, indent=1, default=str)
    return (
        f"## Recipe\nWith this file, `ssl-jax train --config recipe.json` makes the run again.\n```json\n{recipe}\n```"
    )
