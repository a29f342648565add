"""CLIP on moving pictures and sentences that are generated from how they move.

    ssl-jax train --config clip_video_moving --workdir runs/video_text
    ssl-jax eval --workdir runs/video_text

Radford et al. 2021, arXiv 2103.00020, with a ViT on tubelets. Single frames do not tell where a thing goes.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.pairs import (
    evaluated,
    generated_text,
    generated_words,
    known_argument,
    moving_captions,
    pair_run,
    together,
    towers,
    zero_shot,
)
from ssl_jax.recipe.fragments.video import clip_vit, moving_views

RESULT = "zero-shot direction 97.7 % (random weights 23.6); clip to sentence @1 21.3 % of 2,000 (0.3)"
WAYS = ("right", "down", "left", "up")
PROMPTS = (
    "a coat that moves {} , medium",
    "a bag that moves {} , fast",
    "slow and {} goes a shirt",
    "fast and {} goes a dress",
)


def get_config(arg: str = "") -> ConfigDict:
    tiny = known_argument(arg)
    width, depth, heads = (32, 1, 2) if tiny else (128, 4, 4)
    usual = evaluated(tiny, ("clip", "text"), same="text_id")
    return ConfigDict(
        dict(
            objective=towers("clip:CLIP", 64),
            model=dict(clip=clip_vit(width, depth, heads, (4, 8, 8), remat="none"), text=generated_text(tiny)),
            augment=together(clip=moving_views(), text=generated_words()),
            data=moving_captions(tiny),
            evaluate=usual | dict(probes=(*usual["probes"], zero_shot("clip", WAYS, PROMPTS)), baselines=("random",)),
            **pair_run(tiny, 100_000, batch=128),
        )
    )
