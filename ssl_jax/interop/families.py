"""Every family that is known, the more particular ones first."""

from __future__ import annotations

from ssl_jax.interop import (
    bart,
    bert,
    clap,
    clip,
    dinov2,
    dinov3,
    gpt2,
    hf_vit,
    llama,
    own,
    resnet,
    siglip,
    t5,
    timm_vit,
    vjepa2,
)
from ssl_jax.interop.family import Family

FAMILIES: tuple[Family, ...] = (
    timm_vit.VIT,
    hf_vit.VIT,
    dinov2.DINOV2,
    dinov3.DINOV3,
    siglip.SIGLIP,
    clip.CLIP,
    clip.CLIP_TEXT,
    siglip.SIGLIP_TEXT,
    clap.CLAP,
    hf_vit.VIDEOMAE,
    vjepa2.VJEPA2,
    resnet.RESNET,
    bert.BERT,
    bert.ROBERTA,
    gpt2.GPT2,
    llama.LLAMA,
    t5.T5,
    bart.BART,
    own.OWN,
)
