"""The order of time as a pretext with a small ViT on moving Fashion-MNIST: clip order prediction.

    ssl-jax train --config frame_order_vit_moving --workdir runs/frame-order

Three clips of 8 frames from 36, with gaps between them, come in one of 6 orders. Each is encoded by itself, and which order
it is has to be told from their features side by side: the mean of a clip's tokens has to say where things are and which way they
go, since motion is even, and an order and its reverse have the same places. Single frames cannot tell those two apart.

`:whole` is the harder form, in which the encoder sees all of a clip with its four parts in one of 24 orders, and what compares
them has to be learnt inside of it; with --config.objective.task=shuffle only whether they are in order (Shuffle and Learn).
It did not begin to learn in 27,000 examples. Backwards (task=arrow) cannot be told of this motion, the same both ways.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, moving_run, moving_views

RESULT = "direction linear 88.5 % (random init 61.9), attentive 92.8 (83.4); order 74.4 (61.1), attentive 90.0 (66.0)"
CLIPS = dict(target="ssl_jax.objectives.clip_order:ClipOrder", parts=3, frames=8, hidden=(256,), out=64)
WHOLE = dict(target="ssl_jax.objectives.frame_order:FrameOrder", task="sort", parts=4)


def get_config(arg: str = "") -> ConfigDict:
    width, depth, heads = (32, 1, 2) if arg == "tiny" else (64, 3, 2)
    run = moving_run(arg, examples=150_000)
    run["data"]["pretrain"]["frames"] = frames = 16 if arg == "whole" else 36
    return ConfigDict(
        run
        | dict(
            objective=WHOLE if arg == "whole" else CLIPS,
            model=clip_vit(width, depth, heads, (4, 8, 8), remat="none", unroll=depth),
            augment=moving_views(frames=frames) | dict(frames=16),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.999, weight_decay=0.05),
        )
    )
