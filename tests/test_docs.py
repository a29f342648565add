"""What the documentation shows is so: snippets run, commands parse."""

import re
import shlex
from pathlib import Path

import pytest

from ssl_jax.arguments import parse_arguments
from ssl_jax.devices.mesh import check_batch, make_mesh
from ssl_jax.errors import UserError
from ssl_jax.recipe import load, parse

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every `ssl-jax` command in a shell block, with continuation lines joined; test_own_pictures.py runs those of its page."""
    pages = [page for page in PAGES if page.name != "your-own-pictures.md"]
    blocks = [
        (page.name, block.replace("\\\n", " ")) for page in pages for block in fenced(page, "(?:bash|sh|console)")
    ]
    lines = [(name, line.partition("  #")[0].strip()) for name, block in blocks for line in block.splitlines()]
    found = [(name, re.search(r"(?:^|[\s/])(ssl-jax .*)", line)) for name, line in lines]
    return [(name, match.group(1)) for name, match in found if match]


def test_every_snippet_of_the_page_on_pmap_runs():
    namespace: dict = {}
    for block in fenced(ROOT / "docs" / "from-pmap.md", "python"):
        exec(block, namespace)


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_in_the_documentation_is_understood(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = parse_arguments(shlex.split(line)[1:])
    if getattr(arguments, "config", None):
        load(arguments.config, arguments.overrides)


def test_the_messages_on_the_page_on_accelerators_are_the_real_ones():
    text = (ROOT / "docs" / "accelerators.md").read_text(encoding="utf-8")
    with pytest.raises(UserError) as uneven:
        check_batch(100, make_mesh())
    with pytest.raises(UserError) as misfit:
        make_mesh(fsdp=3)
    recipe = parse(load("mae_vit_fashion:tiny", ["--config.optimizer.reference_batch=256"]))
    _, scaled = recipe.optimizer.scaled_lr(recipe.batch_size)
    followed: list[str] = []
    load("byol_conv_fashion:tiny", ["--config.batch_size=64"], followed.append)
    large = parse(load("mae_vit_fashion:tiny", ["--config.batch_size=640"], followed.append)).optimizer
    for message in (str(uneven.value), str(misfit.value), scaled, *followed, f"warning: {large.lr_warning(640)}"):
        assert message in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
