"""Perplexity counts every token once, with what stands before it; of a masked model each token alone."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.data.sources.strided import Strided
from ssl_jax.data.text.tokenizer import load
from ssl_jax.data.text.views import TextViews
from ssl_jax.data.text.vocabulary import Vocabulary, read_tokenizer, token_bytes
from ssl_jax.errors import UserError
from ssl_jax.models.text import TextTransformer
from ssl_jax.objectives.base import Keys, Progress
from ssl_jax.objectives.causal_lm import CausalLM
from ssl_jax.objectives.mlm import MLM

V = 30
WORDS = {"size": V, "pad": 0, "mask": 1, "start": 2, "end": 3}
KEY = jax.random.key(0)


@dataclass(frozen=True, eq=False)
class Long:
    """Two documents."""

    words = Vocabulary(**WORDS)

    @property
    def sizes(self):
        return np.array([13, 5])

    def document(self, index):
        return np.arange(4, 4 + self.sizes[index] - 2)

    def __len__(self):
        return 2

    def fingerprint(self):
        return "long"


def model(**options):
    return TextTransformer(V, 8, 1, 2, 16, 16, remat="none", **options)


def test_strided_windows_count_every_token_once_with_the_nats_of_the_whole():
    windows = Strided(Long(), length=8, stride=3)
    records = [windows[i] for i in range(len(windows))]
    seen = np.concatenate([r["tokens"][r["counted"] > 0] for r in records])
    assert seen.tolist() == [2, *range(4, 15), 3, 2, 4, 5, 6, 3]
    objective = CausalLM(model(causal=True, positions="none"), TextViews(WORDS))
    keys = Keys(jax.random.split(KEY, len(records)), KEY)
    batch = {name: np.stack([r[name] for r in records]) for name in records[0]}
    views = objective.views(keys, batch, Progress(0, 1))
    params = jax.jit(objective.init)(KEY, views).params

    @jax.jit
    def both(views):
        rows = [views[name][:, 0] for name in ("tokens", "segments", "positions")]
        logits = (
            objective.encoder.apply({"params": params["encoder"]}, *rows) @ params["encoder"]["tokens"]["embedding"].T
        )
        return objective.validate(params, {}, views, KEY)["nats"], jax.nn.log_softmax(logits)

    found, log = jax.tree.map(np.asarray, both(views))
    assert found.weight == 12 + 4  # all but the first of each document
    told = [(i, at) for i, r in enumerate(records) for at in np.flatnonzero(r["counted"]) if at]
    by_hand = -sum(log[i, at - 1, records[i]["tokens"][at]] for i, at in told)  # from what the window shows before it
    np.testing.assert_allclose(found.total, by_hand, rtol=1e-5)


def test_bits_per_byte_are_of_the_bytes_of_the_text():
    text = 'a "naïve" café — of 3 things'
    ids = load("wordnet").encode(text, add_special_tokens=False).ids
    assert token_bytes(read_tokenizer("wordnet"))[ids].sum() in (len(text.encode()), len(text.encode()) + 1)
    assert token_bytes(read_tokenizer("wordnet"))[:4].sum() == 0  # signs


def test_pseudo_perplexity_hides_each_token_alone():
    objective = MLM(model(), TextViews(WORDS))
    tokens = jnp.array([2, 7, 8, 9, 3, 0])
    segments, places = (tokens > 0).astype(int), jnp.array([0, 1, 2, 3, 4, 0])
    views = {"tokens": tokens[None, None], "segments": segments[None, None], "positions": places[None, None]}
    views |= {"at": jnp.array([[2]]), "words": jnp.array([[8]]), "weights": jnp.ones((1, 1))}
    params = jax.jit(objective.init)(KEY, views).params
    all_, one = jax.jit(
        lambda: (
            objective.pseudo_nats(params, tokens, segments, places),
            [
                objective.validate(params, {}, views | {
                    "tokens": tokens.at[at].set(1)[None, None], "at": jnp.array([[at]]), "words": tokens[None, None, at],
                }, KEY)["nats"].total
                for at in (1, 2, 3)
            ],
        )
    )()  # fmt: skip
    assert all_.weight == 3
    np.testing.assert_allclose(all_.total, sum(one), rtol=1e-5)


def test_windows_that_skip_tokens_are_refused():
    with pytest.raises(UserError, match="stride=9: windows of length=8"):
        Strided(Long(), 8, 9)
    with pytest.raises(UserError, match="knows no documents"):
        Strided({}, 8, 4)
