"""SigLIP with a ViT-B/16 on pictures and captions of the web, with the paper's numbers, for a slice.

    ssl-jax plan --config siglip_vitb16_webli --topology v5e:16x16
    ssl-jax train --config siglip_vitb16_webli --workdir runs/siglip

Zhai et al. 2023, arXiv 2303.15343: 32,768 pairs a batch, Adam with 1e-3 and b2 0.95, norm at most 1, bias -10 and scale 10 at
first, images of 224 pixels as they are, texts of 64 tokens read with their padding. The decay of 1e-4 a step at the peak is 0.1
times the rate. WebLI is not public: put WebDataset archives at data/webli/*.tar (`jpg` and `txt`), and a tokenizer of 32,000
tokens at data/webli/tokenizer.json.

Fidelity: the length of the warm-up, and the number of examples, are ours.
"""

from ml_collections import ConfigDict

from ssl_jax.recipe.fragments.image import image_views, small_vit
from ssl_jax.recipe.fragments.pairs import known_argument, tiny_run, towers, web_run
from ssl_jax.recipe.fragments.text import text_model

RESULT = "not run here"
PIXELS = dict(mean=(0.5,), std=(0.5,))
BLOCKS = dict(mlp="gelu_tanh", norm_epsilon=1e-6, dtype="bfloat16", attention="auto")


def get_config(arg: str = "") -> ConfigDict:
    if known_argument(arg):
        image = small_vit(32, 1, 2, 7, remat="none", class_token=False, pool="map")
        return ConfigDict(
            dict(objective=towers("siglip:SigLIP", 32, bias=True, bare=("image",)), **tiny_run(image=image))
        )
    image = small_vit(768, 12, 12, 16, positions="learned", class_token=False, pool="map", **BLOCKS)
    text = text_model(32_000, 768, 12, 12, 64, pool="last", **BLOCKS)
    views = image_views(224, PIXELS, dict(count=1, scale=(1.0, 1.0)))
    run = web_run("webli", 9_000_000_000, 32_768, image, text, views, length=64, padding=True, pad=1, size=32_000)
    return ConfigDict(
        dict(
            objective=towers("siglip:SigLIP", 768, bias=True, bare=("image",)),
            optimizer=dict(name="adamw", lr=1e-3, b2=0.95, weight_decay=0.1, clip=1.0),
            schedule=dict(name="cosine", warmup_percent=2),
            **run,
        )
    )
