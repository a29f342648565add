"""The rows of the table: encoders as trained, and beside them raw inputs, random weights, supervised training.

Rows whose features come from the same records at once are a `Group`. What a row is of is said by its name, which other
evaluations of the same run find again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ssl_jax.errors import UserError
from ssl_jax.evaluate.baselines import (
    Fit,
    encoded_splits,
    random_reader,
    random_weights,
    raw_split,
    supervised_split,
)
from ssl_jax.evaluate.classes import class_names
from ssl_jax.evaluate.features import Split
from ssl_jax.evaluate.reader import PLAIN, Reader, there
from ssl_jax.objectives.base import Encoder, as_it_is

if TYPE_CHECKING:
    from ssl_jax.evaluate.suite import Settings

Encoders = Mapping[str, tuple[Encoder, dict]]
Trainer = Callable[[Encoder], Fit]  # what trains an encoder of that kind from scratch, for the supervised row
Makes = Callable[[], Split]
Towers = tuple[str, ...]  # the encoders that a row compares; () for a row of one
BASELINES = {"random": "random init", "raw": "raw input", "supervised": "supervised"}


class Group(NamedTuple):
    """Rows by name, with the encoders that each compares, and what makes their splits; each is looked at when called."""

    rows: dict[str, Towers]
    make: Callable[[], Mapping[str, Makes]]


class Origin(NamedTuple):
    """What features depend on beside the data and the reading, as plain data: `checkpoint`, and the `code` of every row."""

    checkpoint: str
    code: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """What the rows are made of. `encoders` are all of the objective, `chosen` have a row, `compared` have one together, and
    `asked` read sentences of probes.

    Without an `origin` nothing is known of where features come from, and none are kept.
    """

    encoders: Encoders
    chosen: tuple[str, ...]
    compared: tuple[Towers, ...]
    train: Any
    test: Any
    settings: Settings
    trainer: Trainer | None = None
    reader: Reader = PLAIN
    origin: Origin | None = None
    asked: tuple[str, ...] = ()

    def groups(self) -> list[Group]:
        """All of them, in the order of the table. UserError for unknown encoders and baselines."""
        _known("encoders", (*self.needed, *self.asked), self.encoders)
        _known("baselines", self.settings.baselines, BASELINES)
        made = {"random": self.random, "raw": self.raw, "supervised": self.supervised}
        return [self.pretrained(), *(g for name in BASELINES if name in self.settings.baselines for g in made[name]())]

    def pretrained(self) -> Group:
        """The encoders as they were trained."""
        trained = {
            name: there(*self.encoders[name], self.identity(name, checkpoint=self.origin and self.origin.checkpoint))
            for name in self.needed
        }
        asked = {name: there(*self.encoders[name]) for name in self.asked}
        make = partial(encoded_splits, trained, title="pretrained", asked=asked, **self.data)
        return _together("pretrained", {name: row_of(name) for name in self.chosen}, self.compared, make)

    def random(self) -> list[Group]:
        """The same modules with fresh weights, one draw for each kind."""
        seed, kinds = self.settings.seed + 1, dict.fromkeys(self.kinds[name] for name in self.needed)

        def make() -> dict[str, Makes]:
            drawn = {
                kind: random_weights(self.encoders[kind][0], self.train, seed, self.reader, self.identity(kind))
                for kind in kinds
            }
            asked = {name: random_reader(self.encoders[name][0], seed) for name in self.asked}
            made = encoded_splits(drawn, title=BASELINES["random"], asked=asked, **self.data)
            return made | {name: made[self.kinds[name]] for name in self.needed}

        return [_together(BASELINES["random"], self.titled("random"), self.compared, make)]

    def raw(self) -> list[Group]:
        """What the encoders are given; compared where it is the same words that are counted."""
        make = lambda name: partial(raw_split, self.encoders[name][0], **self.data)  # noqa: E731
        rows = [_alone(row, make(kind)) for kind, row in self.titled("raw").items()]
        words = [towers for towers in self.compared if all(self.encoders[name][0].fitted for name in towers)]
        made = {name: make(name) for towers in words for name in towers}
        return [*rows, *([_together(BASELINES["raw"], {}, words, lambda: made)] if words else [])]

    def supervised(self) -> list[Group]:
        """The same modules, trained on labels."""
        if self.trainer is None:
            return []
        titles = self.titled("supervised").items()
        return [_alone(row, partial(self.learnt, self.trainer, kind, row)) for kind, row in titles]

    def learnt(self, trainer: Trainer, kind: str, row: str) -> Split:
        """Features of an encoder trained from scratch on the labels."""
        wanted = self.settings
        few = wanted.supervised_few_examples or wanted.supervised_examples
        return supervised_split(
            trainer(self.encoders[kind][0]), wanted.supervised_examples, few, wanted.seed,
            title=row, identity=self.identity(kind), **self.data,
        )  # fmt: skip

    def identity(self, encoder: str, **facts: Any) -> dict[str, Any] | None:
        """What the weights of an encoder depend on, whatever they are."""
        return None if self.origin is None else {"code": self.origin.code, "encoder": encoder} | facts

    @property
    def needed(self) -> tuple[str, ...]:
        """The encoders that some row needs."""
        return tuple(dict.fromkeys((*self.chosen, *(name for towers in self.compared for name in towers))))

    @property
    def data(self) -> dict[str, Any]:
        """What every maker of features is given."""
        classes = len(class_names(self.train, self.settings.label)) or None
        return {"train": self.train, "test": self.test, "classes": classes, "reader": self.reader}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each encoder by name."""
        return kinds_of({name: encoder for name, (encoder, _) in self.encoders.items()})

    def titled(self, baseline: str) -> dict[str, str]:
        """Kind -> row of a baseline. Where the objective has several kinds, each is named by its first encoder."""
        several, title = len(set(self.kinds.values())) > 1, BASELINES[baseline]
        return {self.kinds[n]: f"{title} ({self.kinds[n]})" if several else title for n in self.chosen}


def kinds_of(encoders: Mapping[str, Encoder]) -> dict[str, str]:
    """Each encoder by name -> the first that differs from it in nothing but where its parameters lie: its kind."""
    forms = {name: replace(encoder, path=(), stats=(), made=as_it_is) for name, encoder in encoders.items()}
    return {name: next(other for other in forms if forms[other] == form) for name, form in forms.items()}


def row_of(encoder: str) -> str:
    """The name of an encoder's row."""
    return f"pretrained ({encoder})"


def _together(
    title: str, rows: Mapping[str, str], compared: Iterable[Towers], make: Callable[[], Mapping[str, Makes]]
) -> Group:
    """A row for each encoder (name -> row), and one for each of the encoders that are compared."""
    beside = {f"{title} ({', '.join(towers)})": towers for towers in compared}

    def splits() -> dict[str, Makes]:
        made = make()
        return {row: made[name] for name, row in rows.items()} | {
            row: partial(_beside, made, towers) for row, towers in beside.items()
        }

    return Group(dict.fromkeys(rows.values(), ()) | beside, splits)


def _alone(row: str, make: Makes) -> Group:
    return Group({row: ()}, lambda: {row: make})


def _beside(made: Mapping[str, Makes], towers: Towers) -> Split:
    """The split of the first of `towers`, with those of all of them."""
    each = {name: made[name]() for name in towers}
    return replace(each[towers[0]], towers=each)


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"evaluate.{what}: {name!r} is unknown; use any of {', '.join(known)}")
