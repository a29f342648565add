"""MAE in two phases: fewer patches hidden at first, then larger pictures at a lower rate (docs/phases.md)."""

from ml_collections import ConfigDict

from ssl_jax.recipe import load


def get_config(arg: str = "") -> ConfigDict:
    """The tiny MAE recipe, in two phases."""
    run = load("mae_vit_fashion:tiny").to_dict()
    phases = (
        dict(name="coarse", percent=75, objective=dict(mask_ratio=0.6)),
        dict(name="fine", schedules="phase", augment=dict(size=36), optimizer=dict(lr=5e-4)),
    )
    return ConfigDict(run | dict(phases=phases))
