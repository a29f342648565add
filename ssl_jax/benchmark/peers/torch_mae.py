"""MAE in plain PyTorch (He et al. 2021, arXiv 2111.06377), the peer of `ssl_jax.objectives.mae`, for `worker.py`.

The blocks are timm's if it is installed, else the same ones written out: fused query-key-value projection and
`scaled_dot_product_attention`. All patches are embedded by a convolution and gathered after it, as in the authors' code. On
a GPU: autocast to bfloat16. AdamW is the fused one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention; parameters named as timm's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, D] -> [B, N, D]."""
        batch, count, width = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(*qkv.unbind(0)).transpose(1, 2).reshape(x.shape))


class Mlp(nn.Module):
    """Linear, GELU, linear; parameters named as timm's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., D]."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block; parameters named as timm's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def block_maker(timm: bool) -> Callable[[int, int], nn.Module]:
    """timm's block if asked for, else ours."""
    if not timm:
        return Block
    from timm.models.vision_transformer import Block as TimmBlock

    return functools.partial(TimmBlock, qkv_bias=True, norm_layer=functools.partial(nn.LayerNorm, eps=1e-6))


class MAE(nn.Module):
    """Encoder on the kept patches, decoder on all, the loss on the removed ones with targets normalised per patch."""

    def __init__(self, spec: dict, positions: np.ndarray, decoder_positions: np.ndarray) -> None:
        super().__init__()
        width, narrow, block = spec["width"], spec["decoder_width"], block_maker(spec["timm"])
        self.patch, self.kept = spec["patch"], spec["kept"]
        self.patch_embed = nn.Conv2d(3, width, self.patch, self.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList([block(width, spec["heads"]) for _ in range(spec["depth"])])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, narrow)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, narrow))
        self.decoder_blocks = nn.ModuleList(
            [block(narrow, spec["decoder_heads"]) for _ in range(spec["decoder_depth"])]
        )
        self.decoder_norm = nn.LayerNorm(narrow, eps=1e-6)
        self.decoder_pred = nn.Linear(narrow, self.patch**2 * 3)
        self.register_buffer("positions", torch.from_numpy(positions), persistent=False)
        self.register_buffer("decoder_positions", torch.from_numpy(decoder_positions), persistent=False)

    def forward(self, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """`image` [B, 3, h, w], `noise` [B, N] -> the loss."""
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + self.positions
        order = noise.argsort(dim=1, stable=True)
        restore = order.argsort(dim=1, stable=True)
        x = x.gather(1, order[:, : self.kept, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
        for block in self.blocks:
            x = block(x)
        y = self.decoder_embed(self.norm(x))
        masked = self.mask_token.expand(y.shape[0], noise.shape[1] - self.kept, -1).to(y.dtype)
        body = torch.cat([y[:, 1:], masked], dim=1).gather(1, restore[:, :, None].expand(-1, -1, y.shape[2]))
        y = torch.cat([y[:, :1], body + self.decoder_positions], dim=1)
        for block in self.decoder_blocks:
            y = block(y)
        prediction = self.decoder_pred(self.decoder_norm(y))[:, 1:].float()
        error = (prediction - self.target(image)).square().mean(dim=2)
        mask = (restore >= self.kept).float()
        return (error * mask).sum() / mask.sum()

    def target(self, image: torch.Tensor) -> torch.Tensor:
        """Patches [B, N, p * p * 3] in (row, column, channel) order, normalised with the N - 1 variance."""
        batch, p, side = image.shape[0], self.patch, image.shape[2] // self.patch
        patches = image.reshape(batch, 3, side, p, side, p).permute(0, 2, 4, 3, 5, 1).reshape(batch, side**2, -1)
        centred = patches - patches.mean(dim=2, keepdim=True)
        return centred / (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


def parameter_groups(model: nn.Module, decay: float) -> list[dict]:
    """Matrices decay; biases, norms and tokens do not."""
    kept = [p for n, p in model.named_parameters() if p.ndim == 1 or n.endswith("_token")]
    decayed = [p for n, p in model.named_parameters() if not (p.ndim == 1 or n.endswith("_token"))]
    return [{"params": decayed, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]


def build(spec: dict) -> Callable[[], float]:
    """One step on the arrays in `spec["folder"]`, from the parameters there."""
    if spec["device"] == "cpu":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    arrays = {k: np.load(f"{spec['folder']}/{k}.npz") for k in ("parameters", "inputs")}
    inputs = {k: torch.from_numpy(arrays["inputs"][k]).to(spec["device"]) for k in ("image", "noise")}
    inputs["image"] = inputs["image"].permute(0, 3, 1, 2).contiguous()
    model = MAE(spec, arrays["inputs"]["positions"], arrays["inputs"]["decoder_positions"])
    model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays["parameters"].items()})  # strict: all of them
    model.to(spec["device"])
    optimizer = torch.optim.AdamW(
        parameter_groups(model, spec["weight_decay"]), lr=spec["lr"], betas=(0.9, 0.95), eps=1e-8, fused=True
    )
    run = torch.compile(model) if spec["compile"] else model

    def step() -> float:
        with torch.autocast(spec["device"], torch.bfloat16, enabled=spec["dtype"] == "bfloat16"):
            loss = run(inputs["image"], inputs["noise"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
