"""Linear probe: logistic regression on standardised frozen features, its penalty chosen without the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ssl_jax.evaluate.accuracy import accuracy
from ssl_jax.evaluate.features import Split, standardise
from ssl_jax.evaluate.logistic import fits, problem
from ssl_jax.evaluate.splits import held_out

# With standardised features the best C is near 1e-3 for thousands of features and near 1 for tens of them.
STRENGTHS = tuple(float(c) for c in np.logspace(-5, 2, 10))
_ITERATIONS = 150  # in which a penalty has to be fitted to be chosen; where one is best, 10 to 70 were enough

_BEGUN = 20  # of one whose loss is not looked at


@dataclass(frozen=True)
class Probe:
    """Logistic regression on all labels: `C` by loss on a held-out slice of train, refitted on all of it, tested once.

    `held_out` is the fraction of train that chooses; it is stratified and drawn by `seed`.
    """

    strengths: Sequence[float] = STRENGTHS
    held_out: float = 0.2
    seed: int = 0

    chosen: ClassVar = ("C", "held_out")
    columns: ClassVar = ({"title": "linear", "value": "accuracy", "unit": "percent"},)

    @property
    def protocol(self) -> str:
        """The protocol in a few words."""
        return (
            f"linear: logistic regression on standardised features, C of {len(self.strengths)} in "
            f"[{min(self.strengths):g}, {max(self.strengths):g}] by loss on {100 * self.held_out:g} % of train held out, "
            f"refitted on all of train"
        )

    def run(self, split: Split) -> dict[str, Any]:
        """Test `accuracy` with `interval`, `chance`; chosen `C`, the `held_out` curve, counts, and a `note` if need be."""
        held = held_out(split.train.labels, self.held_out, self.seed)
        predicted, choice = fit_and_predict(split, held[None] if held.any() else held[None][:0], self.strengths)
        return accuracy(predicted, split.test.labels, self.seed) | {
            "n_train": len(held),
            "n_held_out": int(held.sum()),
            "C": choice.strength,
            "held_out": choice.curve,
            "note": choice.note,
        }


class Choice(NamedTuple):
    """The chosen `C`, mean held-out accuracy and loss of every candidate, and a warning where the choice is doubtful."""

    strength: float
    curve: list[dict[str, float]]
    note: str


def fit_and_predict(split: Split, held: np.ndarray, strengths: Sequence[float]) -> tuple[np.ndarray, Choice]:
    """Choose `C` on the held-out rows of each fold, refit on all of train, predict the test labels [N].

    `held` bool [S, N] marks what each of S fits leaves out; all folds of a penalty are fitted in one pass. Folds share
    one standardisation, which sees the features of the held-out rows but not their labels. The least mean loss wins: on
    few labels accuracy moves in steps of whole examples and picks worse penalties (by half a point at 10 per class).
    """
    logits, choice = fit_and_score(split, held, strengths)
    return logits.argmax(-1), choice


def fit_and_score(split: Split, held: np.ndarray, strengths: Sequence[float]) -> tuple[np.ndarray, Choice]:
    """As `fit_and_predict`, the logits [N, K] of the test features."""
    x, test = standardise(split.train.x, split.test.x)
    ready = problem(x, split.train.labels, split.classes)
    choice = _choose(ready, x, split.train.labels, held, strengths) if len(held) else _unchosen(strengths)
    return fits(ready, [choice.strength]).logits(test)[0], choice


def head_logits(split: Split, fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, Choice]:
    """Logits [N, K] of the test features by the head that this probe fits with its own penalties."""
    held = held_out(split.train.labels, fraction, seed)
    return fit_and_score(split, held[None] if held.any() else held[None][:0], STRENGTHS)


def _choose(ready: Any, x: np.ndarray, y: np.ndarray, held: np.ndarray, strengths: Sequence[float]) -> Choice:
    """From the strongest penalty on, until the held-out loss rises. Weaker ones overfit more still and take longest by far: they
    are begun, for the curve."""
    ordered, tried = sorted(strengths), list[_Tried]()
    while len(tried) < len(ordered) and (len(tried) < 2 or tried[-1].loss <= tried[-2].loss):
        tried.append(_tried(ready, x, y, held, ordered[len(tried)], _ITERATIONS))
    # One penalty at a time, so that all are one compiled program.
    tried += [_tried(ready, x, y, held, strength, _BEGUN) for strength in ordered[len(tried) :]]
    right, loss, ended = map(np.array, zip(*tried, strict=True))
    # A lane that was stopped is better than its minimum: no loss of its penalty.
    best = int(np.where(ended, loss, np.inf).argmin()) if ended.any() else 0
    curve = [{"C": c, "accuracy": float(a), "loss": float(v)} for c, a, v in zip(ordered, right, loss, strict=False)]
    return Choice(ordered[best], curve, _edge_note(best, ordered))


class _Tried(NamedTuple):
    """Of a penalty: mean held-out accuracy and loss over the folds, and whether every fit came to its end."""

    right: float
    loss: float
    ended: bool


def _tried(ready: Any, x: np.ndarray, y: np.ndarray, held: np.ndarray, strength: float, iterations: int) -> _Tried:
    """A penalty on all folds, `held` bool [S, N], in one pass."""
    # A loss within 1e-3 tells penalties apart.
    solved = fits(ready, [strength] * len(held), ~held, tolerance=1e-2, iterations=iterations)
    logits = [x[out] @ kernel + bias for out, kernel, bias in zip(held, solved.kernel, solved.bias, strict=True)]
    right = [(z.argmax(-1) == y[out]).mean() for z, out in zip(logits, held, strict=True)]
    loss = [_cross_entropy(z[None], y[out])[0] for z, out in zip(logits, held, strict=True)]
    return _Tried(float(np.mean(right)), float(np.mean(loss)), bool(np.all(solved.iterations < iterations)))


def _unchosen(strengths: Sequence[float]) -> Choice:
    middle = float(strengths[len(strengths) // 2])
    return Choice(middle, [], f"one label per class leaves none to choose C on: C={middle:g}")


def _edge_note(best: int, strengths: Sequence[float]) -> str:
    if len(strengths) > 1 and best in (0, len(strengths) - 1):
        end = "smallest" if best == 0 else "largest"
        return f"C={strengths[best]:g} is the {end} of the grid: the best one may lie outside it"
    return ""


def _cross_entropy(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean cross-entropy [L] of logits [L, N, K]."""
    top = logits.max(-1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
    return (total - logits[:, np.arange(len(y)), y]).mean(-1)
