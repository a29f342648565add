"""VideoMAE with a small ViT on moving Fashion-MNIST.

    ssl-jax train --config videomae_vit_moving --workdir runs/videomae

Of 4 x 4 x 4 tubelets of 4 frames and 8 x 8 pixels, 4 of 16 are seen in each slot of time, the same in all, and the others are
reconstructed. Features are the mean of all tokens.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, moving_run, moving_views

RESULT = "order, attentive 86.3 % (random init 66.0); direction, linear 60.1 (61.9), attentive 56.1 (83.4)"


def get_config(arg: str = "") -> ConfigDict:
    width, depth, heads = (32, 1, 2) if arg == "tiny" else (64, 3, 2)
    decoder = dict(decoder_width=64, decoder_depth=1, decoder_heads=2)
    return ConfigDict(
        moving_run(arg, examples=180_000)
        | dict(
            objective=dict(target="ssl_jax.objectives.videomae:VideoMAE", mask_ratio=0.75, **decoder),
            model=clip_vit(width, depth, heads, (4, 8, 8), remat="none", unroll=depth),
            augment=moving_views(),
            optimizer=dict(name="adamw", lr=2e-3, b2=0.95, weight_decay=0.05),
        )
    )
