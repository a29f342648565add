"""Every family that is known, the more particular ones first."""

from __future__ import annotations

from ssl_jax.interop import (
    ast,
    bart,
    beit,
    bert,
    clip,
    dinov2,
    dinov3,
    gpt2,
    hf_vit,
    igpt,
    llama,
    own,
    patchtst,
    resnet,
    siglip,
    t5,
    timm_vit,
    vjepa2,
    wav2vec2,
)
from ssl_jax.interop.family import Family

FAMILIES: tuple[Family, ...] = (
    beit.SIMMIM,
    timm_vit.VIT,
    hf_vit.VIT,
    dinov2.DINOV2,
    dinov3.DINOV3,
    beit.DATA2VEC,
    beit.BEIT,
    siglip.SIGLIP,
    clip.CLIP,
    clip.CLIP_TEXT,
    siglip.SIGLIP_TEXT,
    hf_vit.VIDEOMAE,
    vjepa2.VJEPA2,
    resnet.RESNET,
    bert.BERT,
    bert.ROBERTA,
    igpt.IGPT,
    gpt2.GPT2,
    llama.LLAMA,
    t5.T5,
    bart.BART,
    patchtst.PATCHTST,
    wav2vec2.WAV2VEC2,
    ast.AST,
    own.OWN,
)
