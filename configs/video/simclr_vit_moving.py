"""SimCLR on two clips of a video with a small ViT: moving Fashion-MNIST, made while it is read.

    ssl-jax train --config simclr_vit_moving --workdir runs/simclr-video

Two stretches of 16 of 24 frames are two views, each cropped alike in all its frames; nothing is flipped, since that
would make opposite directions the same. Other methods of two views take the place of the objective: `:byol`, `:vicreg`.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import MOVING_PIXELS, clip_views, clip_vit, moving_run

RESULT = ""
OBJECTIVES = {
    "simclr": dict(
        target="ssl_jax.objectives.simclr:SimCLR", temperature=0.1, hidden=(256,), out=64, head_norm="batch"
    ),
    "byol": dict(target="ssl_jax.objectives.byol:BYOL", hidden=256, out=64, momentum=(0.95, 1.0)),
    "vicreg": dict(target="ssl_jax.objectives.vicreg:VICReg", hidden=(256,), out=256),
}


def get_config(arg: str = "") -> ConfigDict:
    width, depth, heads = (32, 1, 2) if arg == "tiny" else (128, 4, 4)
    views = dict(count=2, frames=16, scale=(0.5, 1.0), ratio=(0.8, 1.25), jitter=(0.4, 0.4, 0.0, 0.0), jitter_prob=0.8)
    return ConfigDict(
        moving_run(arg, examples=60_000, frames=24)
        | dict(
            objective=OBJECTIVES.get(arg, OBJECTIVES["simclr"]),
            model=clip_vit(width, depth, heads, (2, 8, 8), remat="none", unroll=depth),
            augment=clip_views(32, MOVING_PIXELS, views, frames=16),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.05),
        )
    )
