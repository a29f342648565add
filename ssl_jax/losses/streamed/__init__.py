"""Losses whose memory does not grow with the number of candidates.

The logits of rows against columns (embeddings, prototypes, words) exist one tile at a time: a forward pass reduces each
tile to a number per row and column, the backward pass computes the tile again. Read in this order: `tiles` (one device),
`kernels` (what is summed), `engine` (many devices, custom gradient), `placement` (how columns travel, and the cost model
that chooses), `contrastive` and `classes` (the losses, one call each).

Tiles as in FlashAttention (Dao et al. 2022, arXiv 2205.14135); tiles and ring for contrastive losses as in Inf-CL (Cheng et
al. 2024, arXiv 2410.17243).
"""
