"""V-JEPA with a small ViT on moving Fashion-MNIST.

    ssl-jax train --config vjepa_vit_moving --workdir runs/vjepa

Four blocks of 2 x 2 patches are hidden, each for half of the clip, and the teacher's features of the hidden tubelets are
predicted from the others. Clips of 16 frames of 32 pixels are 4 x 4 x 4 tubelets. The paper's blocks are hidden in all frames:
what is behind them can only be guessed where little else moves, and 80,000 examples of that taught nothing about motion. What a
shorter block hides is seen before or after it, and who knows which way it goes can tell where it is. Batches are small, since
what the predictor needs first is steps. The student is evaluated: attention to its tokens, as in the paper, or their mean.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, moving_run, moving_views

RESULT = "direction attentive 97.0 % (random init 83.4), linear 85.2 (61.9); order 94.0 (66.0), linear 68.8 (61.1)"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    width, depth, heads = (32, 1, 2) if tiny else (64, 3, 2)
    blocks = dict(blocks=4, scale=0.25, duration=0.5, seen=0.4, hidden=0.5)
    predictor = dict(predictor_width=64, predictor_depth=1 if tiny else 2, predictor_heads=2)
    return ConfigDict(
        moving_run(arg, examples=250_000)
        | dict(
            batch_size=32,
            objective=dict(
                target="ssl_jax.objectives.vjepa:VJEPA", momentum=(0.998, 1.0), masks=dict(short=blocks), **predictor
            ),
            model=clip_vit(width, depth, heads, (4, 8, 8), remat="none", unroll=depth),
            augment=moving_views(),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.98, weight_decay=0.04),
        )
    )
