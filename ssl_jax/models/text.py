"""Transformers on tokens of text: encoders, decoders, and one after the other, all on the shared stack.

A text is three arrays int32 [B, T]: `tokens`, `segments` (which document of a packed row a token belongs to, from 1 on; 0 is
padding) and `positions` (its place in that document, from 0 on). A row that holds one text has segments of 1 and 0.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from ssl_jax.devices.mesh import shard_batch, shard_words
from ssl_jax.devices.precision import wide
from ssl_jax.errors import UserError
from ssl_jax.models.attention import Rope
from ssl_jax.models.cache import filled, remembered
from ssl_jax.models.condition import ModulatedNorm, NoiseEmbedding
from ssl_jax.models.dropout import Dropout
from ssl_jax.models.mask import Mask
from ssl_jax.models.places import Lattice, Places
from ssl_jax.models.relative import RelativeBias
from ssl_jax.models.rows import NORMS, Dense, LayerNorm
from ssl_jax.models.transformer import Memory, Style, Transformer

POSITIONS = ("learned", "rope", "relative", "none")
INITIAL = ("normal", "gpt2", "t5")


class TextTransformer(nn.Module):
    """Embeddings of tokens, and a stack of blocks on them: BERT, GPT-2, Llama, and either half of T5 and BART.

    `positions`: a learned table of `length` rows, rotary positions (Su et al. 2021, arXiv 2104.09864; number i of a head is
    turned with number i + d / 2, as in Llama), T5's relative bias, or none. `causal` blocks see what came before. `types` > 0
    adds a learned vector for each token's type (BERT's sentences A and B). `embedding_norm` is a norm of the sum (BERT, BART).
    `pool` is how `features` reads a text: its first token, the mean of its tokens, or its last token. `condition` > 0 is the
    width of what says how noisy the tokens are and modulates every block (MDLM's diffusion transformer).

    `initial` says how weights are drawn: all N(0, `initial_std`) ("normal"); so, but what ends a residual branch divided by
    sqrt(2 depth) (GPT-2); or tables of tokens N(0, 1), and kernels with the root of their inputs as the divisor, that of queries
    also divided by the root of a head's width (T5's code).
    """

    vocabulary: int
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    length: int = 512
    positions: str = "learned"  # learned | rope | relative | none
    causal: bool = False
    types: int = 0
    embedding_norm: bool = False
    pool: str = "mean"  # class | mean | last
    dtype: str = "float32"
    remat: str = "full"
    unroll: int = 1
    attention: str = "xla"
    initial: str = "normal"  # normal | gpt2 | t5
    initial_std: float = 0.02
    mlp: str = "gelu"
    norm: str = "layer"  # layer | rms
    order: str = "pre"  # pre | post
    bias: bool = True
    kv_heads: int | None = None
    head_width: int | None = None
    attention_scale: float | None = None
    norm_epsilon: float = 1e-5
    rope_base: float = 10000.0
    relative_buckets: int = 32
    relative_furthest: int = 128
    dropout: float = 0.0  # of embeddings and branches
    attention_dropout: float = 0.0
    qkv_bias: str = "all"  # all | none
    condition: int = 0
    adapter: int = 0  # the width of bottlenecks after all branches; 0: none
    mask_vector: bool = False  # a learned vector stands for hidden tokens (`at_places`)

    def __post_init__(self) -> None:
        for value, known, name in (
            (self.positions, POSITIONS, "positions"),
            (self.pool, READERS, "pool"),
            (self.initial, INITIAL, "initial"),
        ):
            if value not in known:
                raise UserError(f"model.{name}={value!r} is unknown; use one of {', '.join(known)}")
        super().__post_init__()

    def setup(self) -> None:
        """The tables, the norm of their sum, and the stack."""
        std = 1.0 if self.initial == "t5" else self.initial_std
        table = partial(nn.Embed, features=self.width, embedding_init=nn.initializers.normal(std))
        self.tokens = table(self.vocabulary)
        if self.positions == "learned":
            self.places = table(self.length)
        if self.positions == "relative":
            self.relative = RelativeBias(self.heads, self.relative_buckets, self.relative_furthest, not self.causal)
        if self.types:
            self.kinds = table(self.types)
        if self.mask_vector:
            self.mask_token = self.param("mask_token", nn.initializers.zeros_init(), (self.width,))
        if self.embedding_norm:
            self.normed = NORMS[self.norm](self.norm_epsilon, self.dtype)
        if self.condition:
            self.condition_of = NoiseEmbedding(self.condition, self.dtype)
            self.final = ModulatedNorm(self.norm, self.norm_epsilon, self.dtype)
        self.transformer = self._stack()

    def __call__(
        self,
        tokens: Array,
        segments: Array,
        positions: Array,
        types: Array | None = None,
        train: bool = False,
        memory: Memory | None = None,
        noise: Array | None = None,
    ) -> Array:
        """States [B, T, D] of a text after the final norm; the randomness of training comes from the stream `noise`.

        `types` int [B, T] is for models that have them; a decoder attends to `memory`, an encoder's states; `noise` [B] is for
        models that have a `condition`.
        """
        return self.states(self.embedded(tokens, positions, types), segments, positions, train, memory, noise)

    def embedded(self, tokens: Array, positions: Array, types: Array | None = None) -> Array:
        """What enters the stack, [B, T, D]."""
        return self.placed(self.looked_up(tokens), positions, types)

    def looked_up(self, tokens: Array) -> Array:
        """Each token's row of the table, [B, T, D]."""
        return shard_batch(jnp.take(shard_words(self.tokens.embedding), tokens, axis=0))

    def placed(self, x: Array, positions: Array, types: Array | None = None) -> Array:
        """Embeddings of tokens `x` [B, T, D], with those of places and types."""
        if self.positions == "learned":
            x = x + self.places(positions)
        if self.types:
            x = x + self.kinds(jnp.zeros_like(positions) if types is None else types)
        return (self.normed(x) if self.embedding_norm else x).astype(self.dtype)

    def states(
        self,
        x: Array,
        segments: Array,
        positions: Array,
        train: bool = False,
        memory: Memory | None = None,
        noise: Array | None = None,
    ) -> Array:
        """What comes out of the stack for embedded tokens `x` [B, T, D] that are as noisy as `noise` [B] says (None: 0).

        With a cache that has been begun (`models/cache.py`), `x` is one token behind those that were seen.
        """
        return self.stacked(x, segments, positions, train, memory, noise).tokens

    def stacked(
        self,
        x: Array,
        segments: Array,
        positions: Array,
        train: bool = False,
        memory: Memory | None = None,
        noise: Array | None = None,
        last: int = 0,
    ) -> Places:
        """`states`, and those after each of the `last` blocks, before the final norm."""
        first, seen = filled(self), remembered(self, segments)
        bias = self.relative(x.shape[1], seen.shape[1], first) if self.positions == "relative" else None
        # Padding sees the first text, as in models that know no segments; nothing sees padding, nor slots that are still free.
        mask = Mask(None, self.causal and first is None, jnp.maximum(segments, 1), seen)
        rope = self._rope(positions)
        through = partial(
            self.transformer.outputs, mask=mask, rope=rope, train=train, bias=bias, memory=memory, last=last
        )
        if not self.condition:
            return Places(*through(x))
        condition = self.condition_of(jnp.zeros(len(x)) if noise is None else noise)
        x, layers = through(x, condition=condition)
        return Places(self.final(x, condition), layers)

    def lattice(self, tokens: Array, segments: Array, positions: Array) -> Lattice:
        """The tokens, but for padding."""
        return Lattice(tokens.shape[1:], segments > 0)

    def at_places(
        self,
        tokens: Array,
        segments: Array,
        positions: Array,
        hidden: Array | None = None,
        last: int = 0,
        train: bool = False,
    ) -> Places:
        """States [B, T, D] of tokens; a learned vector stands where `hidden` [B, T] is True, for models with a `mask_vector`."""
        x = self.looked_up(tokens)
        if hidden is not None:
            x = jnp.where(hidden[..., None], self.mask_token, x)
        return self.stacked(self.placed(x, positions), segments, positions, train, last=last)

    def features(self, tokens: Array, segments: Array, positions: Array, train: bool = False) -> Array:
        """One row [B, D] for each text."""
        return READERS[self.pool](self(tokens, segments, positions, train=train), segments > 0)

    def _rope(self, positions: Array) -> Rope:
        """The rotation (cos, sin), each [B, T, head width]; numbers i and i + d / 2 have the same angle."""
        if self.positions != "rope":
            return None
        width = self._head_width
        frequency = self.rope_base ** (-jnp.arange(0, width, 2) / width)
        angle = positions[..., None] * jnp.tile(frequency, 2)
        return ((jnp.cos(angle), jnp.sin(angle)),)

    @property
    def _head_width(self) -> int:
        return self.head_width or self.width // self.heads

    def _stack(self) -> Transformer:
        t5, gpt2 = self.initial == "t5", self.initial == "gpt2"
        normal = nn.initializers.normal(self.initial_std)
        style = Style(
            self.norm,
            self.order,
            self.order == "pre" and not self.condition,
            self.bias,
            self.kv_heads,
            self.head_width,
            self.attention_scale,
            (2 * self.depth) ** -0.5 if gpt2 else 1.0,
            self._head_width**-0.5 if t5 else 1.0,
        )
        return Transformer(
            self.depth,
            self.heads,
            self.mlp_dim,
            self.dtype,
            self.remat,
            self.unroll,
            self.attention,
            nn.initializers.variance_scaling(1.0, "fan_in", "normal") if t5 else normal,
            self.mlp,
            qkv_bias=self.qkv_bias,
            norm_epsilon=self.norm_epsilon,
            style=style,
            dropout=Dropout(self.dropout, self.attention_dropout, 0.0, self.dropout),
            adapter=self.adapter,
        )


def first_token(states: Array, valid: Array) -> Array:
    """States [B, T, D] -> those of the first token [B, D]."""
    return states[:, 0]


def mean_token(states: Array, valid: Array) -> Array:
    """States [B, T, D] -> their mean [B, D] over the tokens that are `valid` [B, T]."""
    count = jnp.maximum(valid.sum(axis=1, keepdims=True), 1)
    return jnp.where(valid[..., None], states, 0).astype(wide(states.dtype)).sum(axis=1) / count


def last_token(states: Array, valid: Array) -> Array:
    """States [B, T, D] -> those of the last `valid` token [B, D]."""
    last = jnp.maximum(valid.shape[1] - 1 - jnp.argmax(valid[:, ::-1], axis=1), 0)
    return jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]


READERS = {"class": first_token, "mean": mean_token, "last": last_token}


class EncoderDecoder(nn.Module):
    """One transformer reads a text, and another, which attends to it, writes: T5 and BART. They share the embedding of tokens.

    `encoder` sees both directions, `decoder` is causal; both are of one width and vocabulary.
    """

    encoder: TextTransformer
    decoder: TextTransformer

    def __post_init__(self) -> None:
        pairs = ((getattr(self.encoder, key), getattr(self.decoder, key), key) for key in ("vocabulary", "width"))
        for ours, theirs, key in pairs:
            if ours != theirs:
                raise UserError(f"model.encoder.{key}={ours} and model.decoder.{key}={theirs} have to be the same")
        if self.encoder.causal or not self.decoder.causal:
            raise UserError(
                "model.encoder must see both directions (causal=False), and model.decoder one (causal=True)"
            )
        super().__post_init__()

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.encoder.vocabulary

    @property
    def width(self) -> int:
        """Of a state."""
        return self.encoder.width

    @property
    def dtype(self) -> str:
        """What both compute in."""
        return self.encoder.dtype

    def __call__(
        self, source: tuple[Array, Array, Array], target: tuple[Array, Array, Array], train: bool = False
    ) -> Array:
        """States [B, T, D] of the decoder over what it has written. Source and target are each (tokens, segments, positions)."""
        return self.write(*target, self.read(*source, train=train), train)

    def read(self, tokens: Array, segments: Array, positions: Array, train: bool = False) -> Memory:
        """What the decoder attends to: the encoder's states of a text."""
        return Memory(self.encoder(tokens, segments, positions, train=train), segments > 0)

    def write(self, tokens: Array, segments: Array, positions: Array, memory: Memory, train: bool = False) -> Array:
        """States [B, T, D] of the decoder over what it has written."""
        x = self.decoder.placed(self.encoder.looked_up(tokens), positions)
        return self.decoder.states(x, segments, positions, train, memory)

    def features(self, tokens: Array, segments: Array, positions: Array, train: bool = False) -> Array:
        """One row [B, D] for each text, of the encoder."""
        return self.encoder.features(tokens, segments, positions, train)


class WordTable(nn.Module):
    """A last layer of its own: one row for each word."""

    vocabulary: int
    width: int
    initial_std: float = 0.02

    @nn.compact
    def __call__(self) -> Array:
        """[V, D]."""
        return self.param("table", nn.initializers.normal(self.initial_std), (self.vocabulary, self.width))


class WordLayer(nn.Module):
    """A last layer that starts at zero: one row and one number for each word (DiT's)."""

    vocabulary: int
    width: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """[V, D] and [V]."""
        zeros = nn.initializers.zeros_init()
        return self.param("table", zeros, (self.vocabulary, self.width)), self.param("bias", zeros, (self.vocabulary,))


class WordHead(nn.Module):
    """What BERT puts between states and the last layer: a dense layer, GELU and a norm; and a number for each word's logit."""

    vocabulary: int
    norm_epsilon: float = 1e-12
    initial_std: float = 0.02
    dtype: str = "float32"

    @nn.compact
    def __call__(self, states: Array) -> tuple[Array, Array]:
        """States [..., D] -> what meets the table [..., D], and the bias [V]."""
        dense = Dense(
            states.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.normal(self.initial_std), name="dense"
        )
        rows = LayerNorm(self.norm_epsilon, self.dtype, name="norm")(nn.gelu(dense(states), approximate=False))
        return rows, self.param("bias", nn.initializers.zeros_init(), (self.vocabulary,))


class TanhHead(nn.Module):
    """A dense layer with tanh on a text's features: BERT's pooler."""

    width: int
    dtype: str = "float32"
    initial_std: float = 0.02

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., D] -> [..., width]."""
        init = nn.initializers.normal(self.initial_std)
        return jnp.tanh(Dense(self.width, dtype=self.dtype, kernel_init=init, name="dense")(x))


class SpanHead(nn.Module):
    """A hidden token from the two neighbours of its span and its place there (Joshi et al. 2019, arXiv 1907.10529, 3.2)."""

    longest: int
    norm_epsilon: float = 1e-12
    dtype: str = "float32"
    initial_std: float = 0.02

    @nn.compact
    def __call__(self, left: Array, right: Array, place: Array) -> Array:
        """States [B, K, D] of both neighbours, and places int [B, K] from 1 on -> what meets the last layer [B, K, D]."""
        width, init = left.shape[-1], nn.initializers.normal(self.initial_std)
        x = nn.Embed(self.longest, width, embedding_init=init, name="places")(jnp.clip(place, 0, self.longest - 1))
        x = jnp.concatenate([left, right, x.astype(left.dtype)], axis=-1)
        for layer in (1, 2):
            dense = Dense(width, dtype=self.dtype, kernel_init=init, name=f"dense{layer}")
            x = LayerNorm(self.norm_epsilon, self.dtype, name=f"norm{layer}")(nn.gelu(dense(x), approximate=False))
        return x
