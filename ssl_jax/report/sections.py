"""The sections of a run's page, each a pure function of what was read."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.recipe import flatten, recipes
from ssl_jax.recipe.files import split_spec
from ssl_jax.report import scores
from ssl_jax.report.charts import Curve, Picture
from ssl_jax.report.html import Child, Html, drawing, el, picture, player, prose, table
from ssl_jax.report.record import Record
from ssl_jax.rundir.log import rounded, short_time

HEALTH = {
    "healthy": ("✓", "different inputs keep different features, and neither rank nor online probe has fallen."),
    "degrading": (
        "▼",
        "rank or online probe has been well below its best for two checks; earlier weights were better.",
    ),
    "collapsed": ("✕", "features of different inputs are nearly the same: whatever the loss says, they are of no use."),
}
LISTED = 20  # bad records by name


def headline(record: Record) -> Html:
    """What was trained on what, how far, and whether it is alive."""
    name, about = _named(record)
    found = scores.verdict(scores.scores(record.evaluations))
    return el(
        "header",
        el("p", "Pretraining run", class_="kind"),
        el("h1", name),
        el("p", prose(about), class_="summary") if about else None,
        _verdict(record),
        el("p", found, class_="summary") if found else None,
        _facts(_what(record)),
    )


def curves(drawn: Sequence[Curve]) -> Html:
    """Loss, rate, gradient norm, terms, speed, online probe, collapse measures."""
    figures = [drawing(curve.svg, curve.caption) for curve in drawn]
    body = el("div", figures, class_="pictures curves") if drawn else el("p", "No step was logged yet.", class_="note")
    return el("section", el("h2", "How it went"), body)


def samples(groups: Mapping[str, Sequence[Picture]], problems: Iterable[str]) -> Html | None:
    """Pictures under a heading for each group, and why some are not there; None if there is nothing to say."""
    body = [[el("h2", title), gallery(group)] for title, group in groups.items() if group]
    told = [el("p", prose(f"No picture here: {problem}"), class_="note") for problem in problems]
    if not body and not told:
        return None
    return el("section", body, el("h2", "Pictures") if not body else None, told)


def config(record: Record) -> Html:
    """Every key of the recipe, in groups."""
    groups: dict[str, dict[str, Any]] = {"run": {}}
    for key, value in flatten(record.config).items():
        group, dot, rest = key.partition(".")
        groups.setdefault(group if dot else "run", {})[rest if dot else key] = value
    cards = [
        el("section", el("h3", name), table((), [[k, el("code", _shown(v))] for k, v in keys.items()]))
        for name, keys in groups.items()
    ]
    again = f"ssl-jax train --config {shlex.quote(str(record.path / 'config.json'))} --workdir NEW"
    note = el("p", "The same run again: ", el("code", again))
    return el("section", el("h2", "Recipe"), note, el("div", cards, class_="config"))


def environment(record: Record) -> Html:
    """Where it ran, with what, and how it was started."""
    env = record.env
    packages = ", ".join(f"{k} {v}" for k, v in (env.get("packages") or {}).items() if v)
    rows: dict[str, Child] = {
        "Devices": _counted(env.get("devices"), "{1} x {0}"),
        "Mesh": _counted(env.get("mesh"), "{0} {1}"),
        "Machine": ", ".join(str(env[k]) for k in ("host", "platform") if env.get(k)),
        "CPUs": env.get("cpus"),
        "Python": env.get("python"),
        "Packages": packages,
        "ssl_jax": " ".join(str(env[k]) for k in ("ssl_jax", "commit") if env.get(k)),
        "Command": el("code", shlex.join(map(str, env["argv"]))) if env.get("argv") else None,
        "Started": env.get("started"),
        "Resumed": f"{len(env['earlier'])} times" if env.get("earlier") else None,
        "Data fingerprint": el("code", env["data"]) if env.get("data") else None,
        "Augmentation digest": el("code", env["augment"]) if env.get("augment") else None,
    }
    known = [[k, v] for k, v in rows.items() if v not in (None, "")]
    body = table((), known) if known else el("p", "env.json is not there.", class_="note")
    return el("section", el("h2", "Environment"), body)


def bad_records(record: Record) -> Html | None:
    """Records that could not be read, if there are any."""
    if not record.bad:
        return None
    rows = [[b.get("index", "?"), b.get("name", ""), b.get("reason", "")] for b in record.bad[:LISTED]]
    more = f" The first {LISTED}; bad_records.jsonl has all." if len(record.bad) > LISTED else ""
    told = f"{len(record.bad):,} could not be read; others took their places.{more}"
    return el("section", el("h2", "Bad records"), el("p", told), table(["record", "name", "why"], rows))


def gallery(pictures: Sequence[Picture]) -> Html:
    """Pictures side by side where the screen is wide enough; an odd first one takes the whole width."""
    figures = [_figure(p) for p in pictures]
    if len(figures) % 2:
        figures[0] = el("div", figures[0], class_="full")
    return el("div", figures, class_="pictures")


def _figure(p: Picture) -> Html:
    shown = picture(p.png, p.alt, prose(p.caption) if p.caption else None, p.wide)
    players = [player(sound, f"row {row}") for row, sound in enumerate(p.sounds, 1)]
    return el("div", shown, el("p", players, class_="note")) if players else shown


def _named(record: Record) -> tuple[str, str]:
    """The recipe's name with its argument, and the first line of its docstring where it ships with the package."""
    name, arg = split_spec(record.spec)
    if not name or name.endswith(".json"):
        return record.path.resolve().name, ""
    own = name.endswith(".py")
    for shipped in recipes():
        if (shipped.path.resolve() == Path(name).resolve()) if own else (shipped.name == name.rpartition("/")[2]):
            return f"{shipped.name}{':' if arg else ''}{arg}", shipped.summary
    return f"{Path(name).stem if own else name}{':' if arg else ''}{arg}", ""


def _verdict(record: Record) -> Html:
    word = str(record.checks[-1]["health"]) if record.checks else ""
    if not word:
        return el("p", el("strong", "not checked"), "no check of the features was logged yet.", class_="verdict")
    sign, meaning = HEALTH.get(word, ("", ""))
    at, why, since = (
        f" (step {record.checks[-1]['step']:,})",
        *map(record.checks[-1].get, ("health_reason", "health_since")),
    )
    meaning = f"{meaning} Since step {since:,}: {why}." if why and since is not None else meaning
    return el("p", el("strong", f"{sign} {word}"), f"{meaning}{at}", class_=f"verdict {word if word in HEALTH else ''}")


def _what(record: Record) -> dict[str, tuple[str, str]]:
    """Facts as name -> (value, small print)."""
    config = record.config
    batch, speeds = config.get("batch_size", 0), _speeds(record)
    seconds = record.seconds()
    skipped = next((m["skipped"] for m in reversed(record.training) if m.get("skipped")), 0)
    planned = next(
        (f"{config[k]:,} {k[6:]}" for k in ("total_examples", "total_epochs", "total_steps") if config.get(k)), ""
    )
    data = config.get("data") or {}
    options = _component(data.get("pretrain"))[1]
    facts = {
        "Objective": _component(config.get("objective")),
        "Encoder": _component(config.get("model")),
        "Data": (_sized(_component(data.get("pretrain"))[0], record.env.get("records")), options),
        "Examples seen": (f"{record.step * batch:,}", f"{record.step:,} steps of {batch:,}; planned {planned}"),
        "Training time": (short_time(seconds), "steps only, without checks") if seconds else None,
        "Speed": (", ".join(speeds), "median") if speeds else None,
        "Skipped steps": (f"{skipped:,}", "loss or gradient not finite; not applied") if skipped else None,
    }
    return {k: v for k, v in facts.items() if v and v[0]}


def _sized(name: str, records: Any) -> str:
    return f"{name}, {records:,} records" if name and isinstance(records, int) else name


def _speeds(record: Record) -> list[str]:
    """Medians of what was logged a second, in each unit: `1,250 examples/s`."""
    columns = list(dict.fromkeys(key for line in record.training for key in line if key.endswith("_per_s")))
    known = {key: [line[key] for line in record.training if line.get(key)] for key in columns}
    units = {key: key.removesuffix("_per_s").replace("_", " ") for key in columns}
    return [f"{rounded(float(np.median(values)))} {units[key]}/s" for key, values in known.items() if values]


def _facts(facts: Mapping[str, tuple[str, str]]) -> Html:
    shown = [el("div", el("dt", k), el("dd", v, el("br"), el("small", small)) if small else el("dd", v))
             for k, (v, small) in facts.items()]  # fmt: skip
    return el("dl", shown, class_="facts")


def _component(options: Any) -> tuple[str, str]:
    """The name of a component's class, and its options in a line."""
    if not isinstance(options, Mapping):
        return "", ""
    given = {k: v for k, v in flatten(options).items() if k != "target"}
    return str(options.get("target", "")).rpartition(":")[2], ", ".join(f"{k} {_shown(v)}" for k, v in given.items())


def _counted(counts: Any, form: str) -> str:
    return ", ".join(form.format(k, v) for k, v in counts.items()) if isinstance(counts, Mapping) else ""


def _shown(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
