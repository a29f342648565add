"""VideoMAE with ViT-B/16 on Kinetics-400 with the authors' hyper-parameters, for a slice or a cluster.

    ssl-jax plan --config videomae_vitb_video --topology v5e:8x8
    ssl-jax train --config videomae_vitb_video --workdir runs/videomae-vitb

Tong et al. 2022, arXiv 2203.12602, and the script of its code for 1600 epochs on 64 GPUs. Put the videos at
data/videos/train/<class>, or set data.pretrain.root. A clip is 16 frames, one in four. Crops have any size between the smallest
and the largest of their four scales.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.video import clip_vit, video_run, videos

RESULT = "not run here; the authors report 81.5 % top-1 on Kinetics-400 after fine-tuning"


def get_config(arg: str = "") -> ConfigDict:
    tiny = arg == "tiny"
    small = dict(mask_ratio=0.75, decoder_width=32, decoder_depth=1, decoder_heads=2)
    run = video_run(tiny, 2048, videos(240_000, size=256, stride=4), 224, dict(scale=(0.4356, 1.0), ratio=(0.86, 1.16)))
    shared = dict(positions="sequence", qkv_bias="query_value", remat="none")
    return ConfigDict(
        run
        | dict(
            **(dict(total_steps=8) if tiny else dict(total_epochs=1600)),
            objective=dict(target="ssl_jax.objectives.videomae:VideoMAE", **(small if tiny else dict(mask_ratio=0.9))),
            model=clip_vit(32, 1, 2, (2, 8, 8), **shared)
            if tiny
            else clip_vit(768, 12, 12, (2, 16, 16), dtype="bfloat16", attention="auto", **shared),
            optimizer=dict(name="adamw", lr=1.5e-4, reference_batch=256, b2=0.95, weight_decay=0.05),
            schedule=dict(
                name="cosine",
                start=1 / 150,
                final=1 / 15,
                **(dict(warmup_percent=5) if tiny else dict(warmup_epochs=40)),
            ),
            evaluate=run["evaluate"] | dict(encoder="student"),
        )
    )
