"""The cheapest change that makes a step fit: searched on the estimate, for a compile to confirm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ssl_jax.models.transformer import REMAT_POLICIES
from ssl_jax.plan.chips import GIB, Target
from ssl_jax.plan.estimate import Estimate, alike, remat
from ssl_jax.plan.flops import flops
from ssl_jax.plan.graph import Graph
from ssl_jax.plan.memory import state_bytes, temporary_bytes
from ssl_jax.plan.problem import Problem
from ssl_jax.plan.roofline import link

HEADROOM = 0.92  # prefetched batches, evaluation and fragmentation need the rest


@dataclass(frozen=True)
class Remedy:
    """A change of the recipe, the estimate with it, and its cost as a share of the step's floor now."""

    changes: dict[str, Any]
    peak: float
    slower: float
    note: str = ""

    @property
    def flags(self) -> str:
        """How to type it."""
        return " ".join(f"--config.{k}={v}" for k, v in self.changes.items())


def remedies(posed: Problem, now: Estimate, target: Target, correction: float = 1.0, most: int = 3) -> list[Remedy]:
    """Changes under which the estimate, times `correction`, fits; cheapest first, at most `most`.

    Recomputation, sharing out the state, and accumulation leave the mathematics as it is and come first; a smaller batch
    changes the recipe, and is offered only where nothing else helps.
    """
    search = _Search(posed, now, target)
    limit = HEADROOM * target.chip.hbm_gib * GIB / correction
    for candidates in (search.exact(), search.smaller_batches()):
        found = [r for r in candidates if r.peak <= limit]
        if found:
            found.sort(key=lambda r: (-r.changes.get("batch_size", 0), round(r.slower, 3), len(r.changes)))
            return [replace(r, peak=r.peak * correction) for r in found[:most]]
    return []


class _Search:
    """Candidates around a problem. A step is traced once per recomputation policy; all else is arithmetic on the trace."""

    def __init__(self, posed: Problem, now: Estimate, target: Target) -> None:
        self.posed, self.now, self.target = posed, now, target
        self.replicas = now.sizes["data"] * now.sizes["fsdp"]
        self.state = posed.state()
        # What "offload" costs is the link to the host, of which nothing is known here: it is not proposed.
        policy, order = remat(posed), [p for p in REMAT_POLICIES if p != "offload"]
        self.policies = order[order.index(policy) :] if policy in order else [policy]
        self.graphs = {}
        for name in self.policies:
            changed = posed if name == policy else posed.changed({"model.remat": name})
            self.graphs[name] = alike(changed, now.sizes, self.state)
        self.policy = policy

    def exact(self) -> Iterator[Remedy]:
        """Policies x FSDP sizes x microbatches."""
        fsdp = self.now.sizes["fsdp"]
        ways = sorted({fsdp, *(w for w in (8, 16, self.replicas) if self.replicas % w == 0 and w > fsdp)})
        for name in self.policies:
            for way in ways:
                for parts in self._microbatches():
                    changes: dict[str, Any] = {} if name == self.policy else {"model.remat": name}
                    if way != fsdp:
                        changes |= {"mesh.data": self.replicas // way, "mesh.fsdp": way}
                    if parts > 1:
                        changes["optimizer.accumulation"] = parts * self.posed.setup.accumulation
                    if changes:
                        yield self._remedy(changes, name, way, parts)

    def smaller_batches(self) -> Iterator[Remedy]:
        """Halvings of the batch, with each policy."""
        batch, parts = self.posed.recipe.batch_size // 2, 2
        while batch >= self.replicas and batch % self.replicas == 0:
            for name in self.policies:
                changes = {"batch_size": batch} | ({} if name == self.policy else {"model.remat": name})
                note = "a smaller batch is another recipe: learning rate and duration may have to follow"
                yield replace(self._remedy(changes, name, self.now.sizes["fsdp"], parts, False), note=note)
            batch, parts = batch // 2, parts * 2

    def _microbatches(self) -> list[int]:
        if self.posed.setup.objective.accumulation_refusal(self.state.extra) is not None:
            return [1]
        rows = self.posed.recipe.batch_size // self.replicas // self.posed.setup.accumulation
        return [p for p in (1, 2, 4, 8, 16, 32, 64, 128) if rows % p == 0]

    def _remedy(self, changes: dict, name: str | None, fsdp: int, parts: int, accumulate: bool = True) -> Remedy:
        sizes = self.now.sizes | {"data": self.replicas // fsdp, "fsdp": fsdp}
        state = state_bytes(self.state, sizes, self.posed.recipe.mesh.rules)
        graph, other = self.graphs[name]
        peak = sum(s.per_device for s in state.values()) + self.now.batch + temporary_bytes(graph, other, sizes, parts)
        if accumulate and parts > 1:
            peak += state["params"].per_device  # the sum of the gradients so far
        before = self._seconds(self.graphs[self.policy][0], self.now.sizes, 1)
        after = self._seconds(graph, sizes, parts if accumulate else 1)
        return Remedy(changes, peak, after / before - 1)

    def _seconds(self, graph: Graph, sizes: dict[str, int], parts: int) -> float:
        """Full rates, no overlap: compute, and an all-reduce, or under FSDP two gathers a microbatch and a reduce-scatter."""
        fsdp, weights = sizes["fsdp"], self.now.wire
        group = fsdp if fsdp > 1 else sizes["data"]
        network = (2 * parts + 1 if fsdp > 1 else 2) * weights * (group - 1) / group / link(self.target, group)
        if fsdp > 1 and sizes["data"] > 1:
            network += 2 * weights / fsdp / link(self.target, sizes["data"] * fsdp)
        # A microbatch of half the rows keeps the matrix units a little less busy; the share is a guess.
        return flops(graph) / self.target.count / self.target.chip.peak * (1 + 0.02 * (parts - 1)) + network
