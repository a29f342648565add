"""Masked language modelling on sentences of a small grammar."""

from ml_collections import ConfigDict
from recipes import WIDTH, run
from texts import WORDS


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; it has one size."""
    shared = run("texts:Sentences", "texts:Sentences")
    few = dict(probes=("linear", "knn", "fewshot"), shots=(5,), draws=2, supervised_few_examples=32)
    return ConfigDict(
        shared
        | dict(
            objective=dict(target="mlm:MLM"),
            model=dict(target="text_models:TextEncoder", words=len(WORDS), **WIDTH),
            augment=dict(target="texts:TokenViews"),
            evaluate=shared["evaluate"] | few,
        )
    )
