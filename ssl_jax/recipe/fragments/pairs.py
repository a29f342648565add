"""Pieces that recipes of pictures, sounds and clips with words share. Each returns plain values for a section of a recipe."""

from __future__ import annotations

from typing import Any

from ssl_jax.data.sources.descriptions import LENGTH, NAMES, TOKENIZER, vocabulary
from ssl_jax.data.text.vocabulary import SIGNS
from ssl_jax.errors import UserError
from ssl_jax.recipe.fragments.common import evaluation
from ssl_jax.recipe.fragments.image import FASHION_PIXELS, IMAGENET_PIXELS, image_views, small_conv, small_vit
from ssl_jax.recipe.fragments.text import text_model
from ssl_jax.recipe.fragments.video import moving_data

# Mean and standard deviation of pictures of things on white, in [0, 1].
DRAWN_PIXELS: dict[str, Any] = {"mean": (0.82, 0.79, 0.74), "std": (0.29, 0.29, 0.35)}
GENERATED_WORDS = len(SIGNS) + len(vocabulary())
BOTH = ("image", "text")
RATE = 8000  # samples a second of speech and of generated sounds
MEL: dict[str, Any] = {"name": "htk", "bands": 64, "window": 32.0, "hop": 16.0, "floor": 1e-5}
# Prompts in the words of the generated descriptions.
PROMPTS = (
    "a {}",
    "a picture of a {}",
    "this {} is usual",
    "one usual {} on black",
    "here is a {} that is usual",
    "a {} , usual",
)


def together(**parts: dict[str, Any]) -> dict[str, Any]:
    """The `augment` section of several modalities."""
    return {"target": "ssl_jax.data.pairs:Together", "parts": parts}


def towers(objective: str, out: int, **options: Any) -> dict[str, Any]:
    """The `objective` section: "clip:CLIP", "siglip:SigLIP" or "bind:Bind"."""
    return {"target": f"ssl_jax.objectives.{objective}", "out": out, **options}


def found(*names: str, name: str = "pairs", **options: str) -> dict[str, Any]:
    """The probe that counts how well towers find each other's records; `options` are its fields `same` and `group`."""
    encoders = tuple(f"{each}_embedding" for each in names)
    target = "ssl_jax.evaluate.probes.pairs:Probe"
    return {"target": target, "name": name, "encoders": encoders, "shown": ("mrr",), **options}


def zero_shot(tower: str, names: tuple[str, ...], templates: tuple[str, ...]) -> dict[str, Any]:
    """The probe that tells the records of a tower by sentences that name their classes."""
    target = "ssl_jax.evaluate.probes.zeroshot:Probe"
    return {"target": target, "encoders": (f"{tower}_embedding",), "names": names, "templates": templates}


def evaluated(tiny: bool, *pairs: tuple[str, ...], **fields: str) -> dict[str, Any]:
    """The `evaluate` section: each of `pairs` of towers in both directions, and probes of the towers."""
    titles = ("pairs",) if len(pairs) == 1 else tuple("_".join(pair) for pair in pairs)
    named = tuple(found(*pair, name=title, **fields) for pair, title in zip(pairs, titles, strict=True))
    encoders = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    probes = ("linear", "knn", *named)
    return evaluation("student", tiny) | {"encoder": encoders, "probes": probes, "baselines": ("raw", "random")}


def fashion_evaluated(tiny: bool) -> dict[str, Any]:
    """The `evaluate` section of pictures that ship and their descriptions."""
    usual = evaluated(tiny, BOTH, same="text_id")
    return usual | {"probes": (*usual["probes"], zero_shot("image", NAMES, PROMPTS))}


def fashion_captions(tiny: bool, **options: Any) -> dict[str, Any]:
    """The `data` section of the pictures that ship, with generated descriptions; 500 of each split for `:tiny`."""
    source = {"target": "ssl_jax.data.sources:FashionCaptions", "limit": 500 if tiny else None, **options}
    return {split: source | {"split": split} for split in ("pretrain", "probe", "test")}


def fashion_image(**options: Any) -> dict[str, Any]:
    """The views of the pictures that ship: one crop of most of each."""
    return image_views(28, FASHION_PIXELS, {"count": 1, "scale": (0.6, 1.0), "flip": 0.5} | options)


def generated_words(**options: Any) -> dict[str, Any]:
    """The views of generated descriptions: as they are, or with words dropped."""
    return words(TOKENIZER, **options)


def words(tokenizer: str, crop: tuple[float, float] = (1.0, 1.0), drop: float = 0.0, **assumed: int) -> dict[str, Any]:
    """The views of texts in the tokens of `tokenizer`: a stretch of each, with tokens dropped."""
    target = "ssl_jax.data.text.augmented:AugmentedText"
    return {"target": target, "tokenizer": tokenizer, "count": 1, "crop": crop, "drop": drop, "assumed": assumed}


def small_text(vocabulary: int, length: int, width: int = 128, depth: int = 3, **options: Any) -> dict[str, Any]:
    """A small transformer of texts, read at the mean of its tokens."""
    return text_model(vocabulary, width, depth, max(width // 32, 2), length, remat="none", **options)


def rare_words_text(vocabulary: int, length: int) -> dict[str, Any]:
    """A shallow transformer for few texts with many rare words: these lie far apart at first, and their places do not count."""
    return small_text(vocabulary, length, 256, 1, mlp_dim=256, initial="t5", positions="none", dropout=0.1)


def generated_text(tiny: bool) -> dict[str, Any]:
    """A transformer of generated descriptions."""
    return small_text(GENERATED_WORDS, LENGTH, 32 if tiny else 64, 1 if tiny else 2)


def drawn_vit() -> dict[str, Any]:
    """A ViT of drawings of 48 pixels."""
    return small_vit(128, 4, 4, 8, remat="none", class_token=False)


def drawn_conv() -> dict[str, Any]:
    """A convolutional encoder of drawings of 48 pixels, read at the quarters of a 6x6 map."""
    return small_conv(widths=(32, 64, 128, 256), strides=(2, 2, 2, 1), kernels=(3, 3, 3, 1))


def drawn_image(size: int, **options: Any) -> dict[str, Any]:
    """The views of drawings on white: one crop of most of each, in nearly the same colours, since names tell them."""
    policy = {"count": 1, "scale": (0.6, 1.0), "ratio": (0.75, 1.33), "flip": 0.5, "jitter": (0.15, 0.15, 0.15, 0.02)}
    return image_views(size, DRAWN_PIXELS, policy | {"jitter_prob": 0.8} | options)


def pair_lines(name: str, parts: str, length: int, **options: Any) -> dict[str, Any]:
    """The `data` section of what `tools/fetch_pairs_data` wrote to data/<name>: concepts of the test are in no other split."""
    source = {"target": "ssl_jax.data.sources:Pairs", "parts": parts, "same": "concept", "length": length, **options}
    source |= {"tokenizer": f"data/{name}/tokenizer.json", "size": 64, "keep": True}
    splits = {"pretrain": "train", "probe": "train", "test": "test"}
    read = {"threads": 2, "prefetch": 8}
    return {split: source | {"path": f"data/{name}/{file}.jsonl"} for split, file in splits.items()} | read


def pair_run(tiny: bool, examples: int, batch: int = 256, lr: float = 1e-3) -> dict[str, Any]:
    """Every section of a run of two small towers but objective, models, views, data and evaluation."""
    return {
        "seed": 0,
        "batch_size": 32 if tiny else batch,
        "total_examples": 256 if tiny else examples,
        "optimizer": {"name": "adamw", "lr": lr, "weight_decay": 0.1, "b2": 0.98, "clip": 1.0},
        "schedule": {"name": "cosine", "warmup_percent": 5},
        "mesh": {"data": -1},
        "checkpoint": {"every_percent": 25},
        "log": {"every_steps": 4 if tiny else 20},
    }


def emoji_run(arg: str) -> dict[str, Any]:
    """Every section of a run on emoji but the objective; `arg` "tiny" takes generated descriptions, "conv" another encoder
    of pictures."""
    if known_argument(arg, "conv"):
        return tiny_run(image=small_vit(32, 1, 2, 7, remat="none"))
    data, size = pair_lines("emoji", "image,text:name+text", 32, label="group"), 4096
    data["test"] |= {"parts": "image,text"}
    image = drawn_conv() if arg == "conv" else drawn_vit()
    return {
        "model": {"image": image, "text": rare_words_text(size, 32)},
        "augment": together(image=drawn_image(48), text=words("data/emoji/tokenizer.json", (0.6, 1.0), 0.2, size=size)),
        "data": data | {"examples": 1524},
        "evaluate": evaluated(False, BOTH, same="concept") | {"baselines": ("random",), "shots": (5,)},
    } | pair_run(False, 120_000, lr=3e-3)


def folder_run(arg: str) -> dict[str, Any]:
    """Every section of a run on captioned pictures in data/pairs/train and data/pairs/test but the objective."""
    if known_argument(arg):
        return tiny_run(image=small_vit(32, 1, 2, 7, remat="none"))
    tokenizer, options = (
        "data/pairs/tokens/tokenizer.json",
        {"target": "ssl_jax.data.sources:Pairs", "length": 40, "size": 128},
    )
    train, test = ({"path": f"data/pairs/{part}", "tokenizer": tokenizer} | options for part in ("train", "test"))
    policy = {"count": 1, "scale": (0.5, 1.0), "flip": 0.5, "jitter": (0.4, 0.4, 0.4, 0.1), "jitter_prob": 0.8}
    few = {"baselines": ("random",), "probes": (found(*BOTH),)}
    return {
        "model": {"image": small_vit(256, 8, 8, 8, remat="none", class_token=False), "text": small_text(4096, 40, 256)},
        "augment": together(image=image_views(112, IMAGENET_PIXELS, policy), text=words(tokenizer, size=4096)),
        "data": {
            "pretrain": train,
            "probe": train,
            "test": test,
            "max_bad_fraction": 0.1,
            "threads": 4,
            "examples": 10_000,
        },
        "evaluate": evaluated(False, BOTH) | few,
    } | pair_run(False, 500_000)


def known_argument(arg: str, *others: str) -> bool:
    """Whether a trial is asked for. UserError for an argument that is neither that nor one of `others`."""
    known = ("tiny", *others)
    if arg not in ("", *known):
        raise UserError(
            f"this recipe has no argument {arg!r}; append {' or '.join(f':{each}' for each in known)}, or nothing"
        )
    return arg == "tiny"


def stamps_run(arg: str) -> dict[str, Any]:
    """Every section of a run on stamps and their captions in many languages but the objective."""
    if known_argument(arg):
        return tiny_run(image=small_vit(32, 1, 2, 7, remat="none"))
    options = {"more": "language", "label": "category"}
    few = {"baselines": ("random",), "probes": (found(*BOTH, same="concept", group="language"),)}
    return {
        "model": {"image": drawn_vit(), "text": rare_words_text(4096, 32)},
        "augment": together(
            image=drawn_image(48), text=words("data/stamps/tokenizer.json", (0.7, 1.0), 0.1, size=4096)
        ),
        "data": pair_lines("stamps", "image,text", 32, **options) | {"examples": 48_000},
        "evaluate": evaluated(False, BOTH) | few,
    } | pair_run(False, 100_000, lr=2e-3)


def speech_run(arg: str, parts: tuple[str, ...], *pairs: tuple[str, ...]) -> dict[str, Any]:
    """Every section of a run on spoken descriptions of stamps, and on some of what they belong to, but the objective.

    parts: of "sound", "image", "text". pairs: which find each other in evaluation. `:tiny` takes generated sounds.
    """
    tiny = known_argument(arg)
    name, examples = ("pictured", 2500) if "image" in parts else ("speech", 2900)
    views = {
        "sound": spectrograms(48 if tiny else 96),
        "image": fashion_image() if tiny else drawn_image(48),
        "text": generated_words() if tiny else words(f"data/{name}/tokenizer.json", (0.7, 1.0), 0.1, size=2048),
    }
    options = {"more": "language", "label": "category", "rate": RATE, "seconds": 1.8}
    columns = {"sound": "sound:speech"}
    fields = {"same": "text_id"} if tiny else {"same": "concept", "group": "language"}
    real = pair_lines(name, ",".join(columns.get(part, part) for part in parts), 24, **options)
    return {
        "model": {part: model for part, model in speech_models(tiny).items() if part in parts},
        "augment": together(**{part: views[part] for part in parts}),
        "data": generated_sounds("image" in parts) if tiny else real | {"examples": examples},
        "evaluate": evaluated(tiny, *pairs, **fields) | {"baselines": ("random",)},
    } | pair_run(tiny, 40_000, lr=1e-3 if tiny else 2e-3)


def speech_models(tiny: bool) -> dict[str, dict[str, Any]]:
    """An encoder of spectrograms, of pictures and of what is said."""
    if tiny:
        sound = small_conv(widths=(16, 32), strides=(4, 4), kernels=(5, 5), cells=1)
        return {"sound": sound, "image": small_conv(), "text": generated_text(True)}
    sound = small_conv(widths=(24, 48, 96, 192), strides=(2, 2, 2, 2), kernels=(3, 3, 3, 3))
    return {"sound": sound, "image": drawn_conv(), "text": rare_words_text(2048, 24)}


def spectrograms(frames: int) -> dict[str, Any]:
    """The views of speech: a stretch of its spectrogram, with bands and frames left out."""
    masks = {"masked_bands": (10, 1), "masked_frames": (12, 1)}
    scale = {"mean": (-3.5,), "std": (3.9,), "changes": {"gain": (-6.0, 6.0)}}
    return (
        {"target": "ssl_jax.data.audio.spectrograms:SpectrogramViews", "rate": RATE, "mel": MEL, "frames": frames}
        | masks
        | scale
    )


def generated_sounds(pictures: bool) -> dict[str, Any]:
    """The `data` section of generated sounds and what is said of them, or of pictures of the class that has the same number."""
    sounds = {"target": "ssl_jax.data.sources:GeneratedAudio", "rate": RATE, "count": 500}
    made = {"target": "ssl_jax.data.sources:Described", "kind": "sound"}
    matched = {"target": "ssl_jax.data.sources:Matched"}
    splits = {split: sounds | {"split": split} for split in ("pretrain", "probe", "test")}
    if not pictures:
        return {split: made | {"source": source} for split, source in splits.items()}
    garments = fashion_captions(True)
    return {split: matched | {"source": garments[split], "other": source} for split, source in splits.items()}


def moving_captions(tiny: bool) -> dict[str, Any]:
    """The `data` section of moving pictures with sentences that are generated from their labels."""
    made = {"target": "ssl_jax.data.sources:Described", "kind": "clip"}
    return {split: made | {"source": source} for split, source in moving_data(tiny).items()}


def tiny_run(image: dict[str, Any]) -> dict[str, Any]:
    """A trial of a recipe of pictures and texts, with generated descriptions."""
    return {
        "model": {"image": image, "text": generated_text(True)},
        "augment": together(image=fashion_image(), text=generated_words(drop=0.1)),
        "data": fashion_captions(True),
        "evaluate": fashion_evaluated(True),
    } | pair_run(True, 0)


def web_run(
    name: str,
    examples: int,
    batch: int,
    image: dict[str, Any],
    text: dict[str, Any],
    views: dict[str, Any],
    length: int,
    pad: int,
    padding: bool = False,
    **signs: int,
) -> dict[str, Any]:
    """Every section of a run on archives at data/<name>/*.tar but objective, optimiser and schedule; planning needs no files.

    `signs` and `pad` are the ids of the tokenizer beside the archives; `padding` says whether it is read like words.
    """
    tokens = {"tokenizer": f"data/{name}/tokenizer.json", "vocabulary": {"pad": pad}}
    source = {"target": "ssl_jax.data.sources:Pairs", "path": f"data/{name}/*.tar", "size": 256, "length": length}
    read = {"target": "ssl_jax.data.text.views:TextViews", "padding": padding, "assumed": signs}
    return {
        "seed": 0,
        "batch_size": batch,
        "total_examples": examples,
        "model": {"image": image, "text": text},
        "augment": together(image=views, text=read | tokens),
        "data": {"pretrain": source | tokens, "examples": examples, "threads": 16, "prefetch": 32},
        "evaluate": {"encoder": BOTH, "probes": ("linear", "knn", found(*BOTH)), "baselines": ("random",)},
        "mesh": {"data": -1},
        "checkpoint": {"every_steps": 2000, "keep_every_steps": 20_000},
        "log": {"every_steps": 50},
    }
