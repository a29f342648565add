"""SimCLR on two clips of a video with a small ViT: moving Fashion-MNIST, made while it is read.

    ssl-jax train --config simclr_vit_moving --workdir runs/simclr-video

Two stretches of 16 of 24 frames are two views, each cropped alike in all its frames. One of them is residual: what changes from
frame to frame, without which a picture that stands still would be all that two views need to have in common. Each kind has
BatchNorm statistics of its own, and the temperature is high: with joint statistics and 0.1 the loss begins at twice that of
guessing, and within 250 steps all embeddings were alike (which of the two is the cure was not tried). Nothing is flipped, since
that would make opposite directions the same. Other objectives on the same views: `:byol`, `:vicreg`.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import MOVING_PIXELS, clip_views, clip_vit, moving_run

RESULT = "direction linear 86.6 % (random init 61.9), attentive 89.2 (83.4); order 68.0 (61.1), attentive 86.4 (66.0)"
OBJECTIVES = {
    "simclr": dict(
        target="ssl_jax.objectives.simclr:SimCLR",
        temperature=0.5,
        hidden=(256,),
        out=64,
        head_norm="batch",
        bn="separate",
    ),
    "byol": dict(target="ssl_jax.objectives.byol:BYOL", hidden=256, out=64, momentum=(0.95, 1.0)),
    "vicreg": dict(target="ssl_jax.objectives.vicreg:VICReg", hidden=(256,), out=256),
}


def get_config(arg: str = "") -> ConfigDict:
    width, depth, heads = (32, 1, 2) if arg == "tiny" else (64, 3, 2)
    colours = dict(jitter=(0.4, 0.4, 0.0, 0.0), jitter_prob=0.8)
    views = dict(count=2, frames=16, residual=(0.0, 1.0), scale=(0.5, 1.0), ratio=(0.8, 1.25), **colours)
    run = moving_run(arg, examples=40_000)
    run["data"]["pretrain"]["frames"] = 24  # of which a view has 16, as many as the clips of the probes
    return ConfigDict(
        run
        | dict(
            objective=OBJECTIVES.get(arg, OBJECTIVES["simclr"]),
            model=clip_vit(width, depth, heads, (4, 8, 8), remat="none", unroll=depth),
            augment=clip_views(32, MOVING_PIXELS, views, frames=16),
            optimizer=dict(name="adamw", lr=1e-3, weight_decay=0.05),
        )
    )
