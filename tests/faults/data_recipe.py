"""The faulty recipe with three splits of data of one kind, named after the colon."""

# ruff: noqa: C408  (dict(...) reads like the keys that --config overrides)
from fault_recipe import get_config as faulty
from ml_collections import ConfigDict

PROBES = dict(probes=("linear", "knn", "fewshot"), shots=(2, 5), draws=1, supervised_examples=64)
VIEWS = dict(
    target="ssl_jax.data.image.views:ImageViews", size=4, mean=(0.5,), std=(0.5,), views=dict(image=dict(count=2))
)
KINDS = {
    "floats": dict(pretrain=dict(floats=True)),
    "bad": dict(pretrain=dict(bad=(3,), floats=(9,)), probe=dict(bad=(5, 6)), test=dict(bad=(7,))),
    "no_probe": dict(pretrain=dict(labels="all"), probe=None, test=None),
    "minus": dict(pretrain=dict(labels="minus"), probe=dict(labels="minus"), test=dict(labels="none")),
}


def get_config(arg: str = "bad") -> ConfigDict:
    config = faulty()
    for split, options in KINDS[arg].items():
        source = dict(target="fault_objective:Numbers", count=64, salt=split)  # splits of other data
        config.data[split] = None if options is None else ConfigDict(source | options)
    config.data.max_bad_fraction = 0.05
    config.log.tensorboard = True
    config.evaluate.update(PROBES)
    config.augment = ConfigDict(VIEWS)
    return config
