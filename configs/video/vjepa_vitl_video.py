"""V-JEPA with ViT-L/16 on videos with the authors' hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config vjepa_vitl_video --topology v5p:4x4x4
    ssl-jax train --config vjepa_vitl_video --workdir runs/vjepa-vitl

Bardes et al. 2024, arXiv 2404.08471, and their code. Put the videos at data/videos/train/<class>, or set data.pretrain.root; the
authors have two million (Kinetics-710, Something-Something v2, HowTo100M). A clip is 16 frames, one in four. Their schedules are
those of 112,500 steps, of which they make 90,000: evaluate the checkpoint of step 90,000.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, video_run, videos

RESULT = "not run here"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    small = dict(predictor_width=32, predictor_depth=1, predictor_heads=2)
    data = videos(2_000_000, size=256, stride=4)
    return ConfigDict(
        video_run(tiny, 3072, data, 224, dict(scale=(0.3, 1.0), ratio=(0.75, 1.35), flip=0.5))
        | dict(
            total_steps=8 if tiny else 112_500,
            objective=dict(target="ssl_jax.objectives.vjepa:VJEPA", momentum=(0.998, 1.0), **(small if tiny else {})),
            model=clip_vit(32, 1, 2, (2, 8, 8), remat="none")
            if tiny
            else clip_vit(1024, 24, 16, (2, 16, 16), dtype="bfloat16", attention="auto", remat="full"),
            optimizer=dict(
                name="adamw", lr=6.25e-4, reference_batch=3072, b2=0.999, weight_decay=0.04, weight_decay_final=0.4,
                clip=10.0,
            ),
            schedule=dict(
                name="cosine", start=0.32, final=1.6e-3, **(dict(warmup_percent=10) if tiny else dict(warmup_steps=12_000))
            ),
        )
    )  # fmt: skip
