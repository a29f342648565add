"""Objectives with a mistake, outside the package: what `ssl-jax verify` must find."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from ssl_jax.losses.contrastive import normalize
from ssl_jax.losses.mean import Mean
from ssl_jax.objectives.base import Out
from ssl_jax.objectives.simclr import SimCLR

BATCH = ("data", "fsdp")


@dataclass(frozen=True)
class Stopped(SimCLR):
    """The negatives that device 1 holds carry no gradient."""

    def score(self, params, extra, embeddings, progress):
        def rows(z):
            z = normalize(z)
            mine = jnp.where(jax.lax.axis_index(BATCH) == 1, jax.lax.stop_gradient(z), z)
            others = jax.lax.all_gather(mine[:, 1], BATCH, tiled=True)
            logits = z[:, 0] @ others.T / self.temperature
            return jax.nn.logsumexp(logits, axis=-1) - jnp.sum(z[:, 0] * z[:, 1], axis=-1) / self.temperature

        loss = jax.shard_map(rows, in_specs=P(BATCH), out_specs=P(BATCH))(embeddings)
        return Out({"nt_xent": Mean(loss.sum(), jnp.float32(loss.shape[0]))})


@dataclass(frozen=True)
class Folded(SimCLR):
    """The keys of the views are folded with the number of the device."""

    def views(self, keys, batch, progress):
        def folded(words):
            key = jax.random.wrap_key_data(words)
            return jax.random.key_data(jax.vmap(lambda k: jax.random.fold_in(k, jax.lax.axis_index(BATCH)))(key))

        words = jax.shard_map(folded, in_specs=P(BATCH), out_specs=P(BATCH))(jax.random.key_data(keys.example))
        return super().views(keys._replace(example=jax.random.wrap_key_data(words)), batch, progress)


@dataclass(frozen=True)
class Few(SimCLR):
    """Allows accumulation, although a microbatch has fewer negatives."""

    def accumulation_refusal(self, extra):
        return None


@dataclass(frozen=True)
class Centred(SimCLR):
    """Embeddings lose the mean of their batch, and a microbatch has another mean."""

    def embed(self, params, extra, views, key):
        z, stats = super().embed(params, extra, views, key)
        return z - z.mean(axis=0), stats


@dataclass(frozen=True)
class Counting(SimCLR):
    """Its temperature depends on how many losses were traced in this process."""

    def score(self, params, extra, embeddings, progress):
        TRACED.append(1)
        out = super().score(params, extra, embeddings, progress)
        term = out.losses["nt_xent"]
        return out._replace(losses={"nt_xent": term._replace(total=term.total * len(TRACED))})


TRACED: list[int] = []
