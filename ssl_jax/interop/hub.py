"""The local cache of Hugging Face's hub, by the id of a repository."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ssl_jax.errors import UserError

FILES = ("*.safetensors", "*.json")  # what is fetched: no code, no pickles


def is_repository(word: str) -> bool:
    """Whether a word may be the id of a repository: org/name."""
    return re.fullmatch(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", word) is not None and ".." not in word


def cache() -> Path:
    """Where the hub's own library keeps what it fetched."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def cached(repository: str, download: bool = False) -> Path:
    """The folder of a repository: that of its branch `main`, or else the newest.

    UserError where it is not there, unless `download`, which needs the library.
    """
    if not download:
        found = snapshot(repository)
        if found is None:
            raise UserError(
                f"{repository}: no such file or folder, and no repository of this name in {cache()}; add --download to fetch "
                "it, or copy it here"
            )
        return found
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(f"--download {repository} needs huggingface_hub; pip install ssl_jax[hub]") from None
    try:
        return Path(snapshot_download(repository, allow_patterns=list(FILES)))
    except Exception as error:  # its errors have no common class
        raise UserError(
            f"{repository} cannot be fetched: {error}; check the name, the network and your access"
        ) from error


def snapshot(repository: str) -> Path | None:
    """The folder of a repository in the cache, if it is there."""
    root = cache() / f"models--{repository.replace('/', '--')}"
    reference, snapshots = root / "refs" / "main", root / "snapshots"
    if reference.is_file():
        named = snapshots / reference.read_text(encoding="utf-8", errors="replace")[:64].strip()
        if named.parent == snapshots and named.is_dir():
            return named
    return max(snapshots.glob("*/"), key=lambda p: p.stat().st_mtime, default=None)
