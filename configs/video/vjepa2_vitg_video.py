"""V-JEPA 2 with ViT-g/16 on videos with the authors' hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config vjepa2_vitg_video --topology v5p:4x4x8
    ssl-jax train --config vjepa2_vitg_video --workdir runs/vjepa2-vitg

Assran et al. 2025, arXiv 2506.09985, and their code: 240,000 steps of clips of 16 frames at four a second, at a constant rate,
and then, as a phase of its own, 12,000 steps of 64 frames while the rate falls to nothing. Put the videos at
data/videos/train/<class>, or set data.pretrain.root; the authors have 22 million, and a share of single images, which this
recipe leaves out.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, video_run, videos

RESULT = "not run here"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    short, long = (8, 16) if tiny else (16, 64)
    small = dict(predictor_width=24, predictor_depth=1, predictor_heads=2)
    turned = dict(positions="rope", rope_places="indices", rope_base=10_000.0, rope_tiled=True)
    run = video_run(
        tiny, 3072, videos(22_000_000, size=288, rate=4.0), 256, dict(scale=(0.3, 1.0), ratio=(0.75, 1.35), flip=0.5)
    )
    for source in ("pretrain", "probe", "test"):
        run["data"][source]["frames"] = short
    return ConfigDict(
        run
        | dict(
            total_steps=8 if tiny else 252_000,
            objective=dict(
                target="ssl_jax.objectives.vjepa:VJEPA", momentum=(0.99925, 0.99925), shared_token=True,
                **(small if tiny else {}),
            ),
            model=clip_vit(48, 1, 2, (2, 8, 8), remat="none", **turned)
            if tiny
            else clip_vit(1408, 40, 22, (2, 16, 16), dtype="bfloat16", attention="auto", remat="full", **turned)
            | dict(mlp_dim=6144),
            optimizer=dict(name="adamw", lr=5.25e-4, reference_batch=3072, b2=0.999, weight_decay=0.04),
            schedule=dict(name="constant", start=0.19, warmup_steps=1 if tiny else 12_000),
            phases=(
                dict(name="constant", steps=6 if tiny else 240_000, schedules="phase"),
                dict(
                    name="cooldown", schedules="phase", data=dict(pretrain=dict(frames=long)),
                    optimizer=dict(accumulation=1 if tiny else 4),  # four times the tokens of a clip
                    schedule=dict(name="wsd", warmup_steps=0, final=1.9e-3, options=dict(decay=1.0, shape="linear")),
                ),
            ),
        )
    )  # fmt: skip
