"""CLIP with a ViT-B/32 on pictures and captions of the web, with the numbers of DataComp's medium scale.

    ssl-jax plan --config clip_vitb32_datacomp --devices 8 --chip h100
    ssl-jax train --config clip_vitb32_datacomp --workdir runs/clip

Radford et al. 2021, arXiv 2103.00020; Gadre et al. 2023, "DataComp", arXiv 2304.14108, appendix: 128 million examples, 4,096 a
batch, AdamW with 5e-4, b2 0.98, decay 0.2, 500 steps of warm-up. Put WebDataset archives at data/datacomp/*.tar (`jpg` and
`txt`), and CLIP's tokenizer at data/datacomp/tokenizer.json. `eps` is open_clip's for ViTs.

Fidelity: pictures are squares of 256 pixels before a crop of 90 to 100 % of them; weights of texts are drawn as GPT-2's.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import image_views, small_vit
from ssl_jax.recipe.fragments.pairs import known_argument, tiny_run, towers, web_run
from ssl_jax.recipe.fragments.text import text_model

RESULT = "not run here; the authors report 17.6 % zero-shot on ImageNet without filtering, 29.7 % with the best of their filters"
PIXELS = dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
WORDS = dict(size=49_408, start=49_406, end=49_407)
BLOCKS = dict(norm_epsilon=1e-5, dtype="bfloat16", attention="auto")


def get_config(arg: str = "") -> ConfigDict:
    if known_argument(arg):
        return ConfigDict(
            dict(objective=towers("clip:CLIP", 16), **tiny_run(image=small_vit(32, 1, 2, 7, remat="none")))
        )
    image = small_vit(768, 12, 12, 32, positions="learned", pool="class", embedding_norm=True, **BLOCKS)
    text = text_model(49_408, 512, 12, 8, 77, causal=True, pool="last", initial="gpt2", **BLOCKS)
    views = image_views(224, PIXELS, dict(count=1, scale=(0.9, 1.0), interpolation="bicubic"))
    run = web_run("datacomp", 128_000_000, 4096, image, text, views, length=77, pad=49_407, **WORDS)
    optimizer = dict(name="adamw", lr=5e-4, b2=0.98, eps=1e-6, weight_decay=0.2)
    return ConfigDict(
        dict(
            objective=towers("clip:CLIP", 512),
            optimizer=optimizer,
            schedule=dict(name="cosine", warmup_steps=500),
            **run,
        )
    )
