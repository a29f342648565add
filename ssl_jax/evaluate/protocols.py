"""Protocols by name: which probes with which options, where they come from, and how ours differ from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl_jax.errors import UserError
from ssl_jax.recipe.probes import Entry

LAST_FOUR = "class@-4+class@-3+class@-2+class"
HELD_OUT = "the best on 10 % of the probe split (stratified, by the seed), refitted on all of it; test is scored once"
NOTHING = "nothing is chosen"


@dataclass(frozen=True)
class Protocol:
    """`probes` as a recipe has them, the `reference` (paper or code), how ours `differs`, and how options are `selected`."""

    probes: tuple[Entry, ...]
    reference: str
    differs: str
    selected: str

    def told(self, name: str) -> dict[str, Any]:
        """For a result."""
        return {"name": name, "reference": self.reference, "differs": self.differs, "selected": self.selected}

    def note(self, name: str) -> str:
        """For a person, under the table."""
        return f"protocol {name}: {self.reference}; ours differs: {self.differs}; options: {self.selected}"


def _probe(name: str, **options: Any) -> dict[str, Any]:
    return {"target": f"ssl_jax.evaluate.probes.{name}:Probe"} | options


PROTOCOLS: Mapping[str, Protocol] = {
    "fast": Protocol(
        ("knn", "linear"),
        "ours: nearest neighbours and logistic regression, minutes on a CPU",
        "-",
        "C by loss on 20 % of the probe split, refitted on all of it; test is scored once",
    ),
    "knn20": Protocol(
        (_probe("knn", k=20, temperature=0.07),),
        "DINO (arXiv 2104.14294), evaluation by nearest neighbours",
        "no difference is known",
        NOTHING,
    ),
    "knn-sweep": Protocol(
        (_probe("knn", k=(10, 20, 100, 200), temperature=0.07),),
        "DINOv2's evaluation by nearest neighbours",
        "k is chosen on the probe split; DINOv2 reports each k",
        "k by leave-one-out accuracy on up to 10,000 records of the probe split",
    ),
    "dinov2-linear": Protocol(
        (
            _probe(
                "linear_sgd",
                readings=("class", "class+mean", LAST_FOUR, LAST_FOUR + "+mean"),
                batch_size=1024,
                steps=12_500,
            ),
        ),
        "DINOv2 (arXiv 2304.07193), linear evaluation: 13 rates x 2 depths x 2 poolings, SGD, 12,500 steps of 1024",
        "chosen on the probe split, where DINOv2 takes the best on the set that it reports; no crops and flips; an "
        "encoder without class token is read by its own pooling",
        HELD_OUT,
    ),
    "mae-linear": Protocol(
        (
            _probe(
                "linear_sgd",
                rates=(0.03, 0.1, 0.3, 1.0, 3.0),
                norm="batch",
                optimizer="lars",
                epochs=90,
                warmup_epochs=10,
                batch_size=16384,
            ),
        ),
        "MAE (arXiv 2111.06377), linear probing: BatchNorm without scale and bias, LARS, 90 epochs, base rate 0.1",
        "five rates around MAE's, chosen on the probe split; no crops and flips; where the probe split is smaller than a batch, "
        "90 epochs are 90 steps",
        HELD_OUT,
    ),
    "logistic": Protocol(
        (_probe("linear", strengths=tuple(10 ** (-6 + 11 * i / 44) for i in range(45)), held_out=0.1),),
        "DINOv2's logistic regression: 45 penalties, L-BFGS",
        "features are standardised; C by loss, where DINOv2 chooses by accuracy; float32",
        HELD_OUT,
    ),
    "fewshot": Protocol(
        (_probe("fewshot_ridge", shots=(1, 5, 10, 25), draws=3, l2=1024.0),),
        "big_vision's few-shot evaluator: ridge regression on 1, 5, 10 and 25 labels of a class",
        "draws by another generator; float64",
        NOTHING,
    ),
    "attentive": Protocol(
        ("attentive",),
        "V-JEPA (arXiv 2404.08471), attentive probe",
        "fewer rates and decays, one view of each record; V-JEPA 2 has three blocks of self-attention below",
        HELD_OUT,
    ),
    "mlp": Protocol(
        ("mlp",),
        "HEAR (arXiv 2203.03022), downstream MLP",
        "no dropout; a cosine over 30 epochs, where HEAR stops early",
        HELD_OUT,
    ),
    "retrieval": Protocol(
        ("retrieval",),
        "test records as queries and candidates, by cosine; measures as trec_eval has them",
        "no benchmark's list of queries: every test record is one",
        NOTHING,
    ),
    "clustering": Protocol(
        ("clustering",),
        "k-means of test features with as many clusters as classes; NMI, ARI, Hungarian accuracy",
        "MTEB takes mini-batches of its clustering sets and the V-measure, which is NMI",
        NOTHING,
    ),
    "dense": Protocol(
        ("segmentation", "depth"),
        "DINOv3 (arXiv 2508.10104), linear segmentation and depth on frozen patch tokens",
        "whole records, no crops, flips or sliding windows; fewer steps",
        "learning rate by loss on 20 % of the probe split; test is scored once",
    ),
    "robustness": Protocol(
        ("robustness",),
        "ImageNet-C (arXiv 1903.12261), all corruptions and severities",
        "corruptions drawn on the device (docs/measures.md); mean accuracy, and mCE only against errors that are given",
        "C of the linear head by loss on 20 % of the probe split",
    ),
}


def protocol_named(name: str) -> Protocol:
    """The protocol; UserError with the names that there are."""
    if name not in PROTOCOLS:
        raise UserError(f"--protocol: {name!r} is unknown; use one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
