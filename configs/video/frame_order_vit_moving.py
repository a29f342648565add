"""The order of time as a pretext with a small ViT on moving Fashion-MNIST.

    ssl-jax train --config frame_order_vit_moving --workdir runs/frame-order

A clip is cut into four parts of four frames, which come in one of 24 orders; the encoder sees the whole of it, and which order
it is has to be told. With --config.objective.task=shuffle it is only whether they are in order (Shuffle and Learn). Backwards
(task=arrow) cannot be told of this motion, which looks the same both ways.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, moving_run, moving_views

RESULT = "does not learn its task: 4.0 % of 24 orders after 27k examples of a smaller ViT (guessing 4.2)"


def get_config(arg: str = "") -> ConfigDict:
    width, depth, heads = (32, 1, 2) if arg == "tiny" else (96, 4, 3)
    return ConfigDict(
        moving_run(arg, examples=80_000)
        | dict(
            objective=dict(target="ssl_jax.objectives.frame_order:FrameOrder", task="sort", parts=4),
            model=clip_vit(width, depth, heads, (2, 8, 8), remat="none", unroll=depth),
            augment=moving_views(),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.999, weight_decay=0.05),
        )
    )
