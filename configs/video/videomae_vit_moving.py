"""VideoMAE with a small ViT on moving Fashion-MNIST.

    ssl-jax train --config videomae_vit_moving --workdir runs/videomae

Clips of 16 frames of 32 pixels are 4 x 4 x 4 tubelets. One of four stretches of frames is seen, and the others are
reconstructed (masking=frame). The paper hides patches in all frames (tube): what a tube hides is not seen
at any time here, where little moves, and filling it in hardly asks for motion; what was seen before or will be seen after is told
by how things move. With --config.objective.masking=random tubelets are hidden one by one. Features are the mean of all tokens.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, moving_run, moving_views

RESULT = "direction linear 77.0 % (random init 61.9), attentive 91.2 (83.4); order 73.2 (61.1), attentive 88.0 (66.0)"


def get_config(arg: str = "") -> ConfigDict:
    width, depth, heads = (32, 1, 2) if arg == "tiny" else (64, 3, 2)
    decoder = dict(decoder_width=64, decoder_depth=1, decoder_heads=2)
    return ConfigDict(
        moving_run(arg, examples=200_000)
        | dict(
            objective=dict(target="ssl_jax.objectives.videomae:VideoMAE", mask_ratio=0.75, masking="frame", **decoder),
            model=clip_vit(width, depth, heads, (4, 8, 8), remat="none", unroll=depth),
            augment=moving_views(),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.95, weight_decay=0.05),
        )
    )
