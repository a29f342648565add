"""Lines as SVG: nothing is lost, letters can be read on a phone, and colour is never the only sign."""

import re

import numpy as np
import pytest

from ssl_jax.report.chart import LETTERS, RIGHT, WIDTH, Line, chart, finite, short, thinned, ticks
from ssl_jax.report.html import Html

STEPS = np.arange(1000.0)


def test_a_line_keeps_its_ends_and_its_extremes_when_it_is_thinned():
    y = np.sin(STEPS / 50)
    y[[123, 777]] = 9, -9
    x, kept = thinned(STEPS, y)
    assert len(x) <= 240
    assert {9.0, -9.0} <= set(kept.tolist())
    assert x[0] <= 8
    assert x[-1] >= 991


def test_letters_are_12_pixels_where_the_drawing_has_320_and_stay_inside():
    svg = chart([Line("loss", STEPS, STEPS)], "It rises.", "Loss")
    assert LETTERS * 320 / WIDTH >= 12
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', svg)]
    assert min(sizes) == LETTERS
    assert all(0 <= float(x) <= WIDTH for x in re.findall(r'<(?:text|line)[^>]* x1?="([\d.]+)"', svg))
    widest = max(map(len, re.findall(r'text-anchor="middle"[^>]*>([^<]*)<', svg)))
    assert widest * 0.62 * LETTERS / 2 <= RIGHT + 8


def test_lines_differ_by_dashes_as_well_as_by_colour():
    lines = [Line(name, STEPS, STEPS + i) for i, name in enumerate("abc")]
    strokes = re.findall(
        r'<line x1="8"[^>]*stroke="([^"]*)"(?: stroke-dasharray="([^"]*)")?', chart(lines, "Three lines.")
    )
    assert len({colour for colour, _ in strokes}) == len({dash for _, dash in strokes}) == 3


def test_lines_of_one_name_look_alike_in_every_drawing():
    lines = [Line("b", STEPS, STEPS), Line("b", STEPS, STEPS + 2)]
    alone, both = chart(lines, "b"), chart([Line("a", STEPS, STEPS), *lines], "both")
    assert chart(lines, "b", named=("a", "b")).count("#D55E00") == both.count("#D55E00") == 3
    assert "#D55E00" not in alone
    assert "b 1000 (mean of 2)" in alone


def test_names_are_text_and_what_is_seen_is_told():
    svg = chart([Line("<script>", STEPS, STEPS)], 'so "it" rises')
    assert isinstance(svg, Html)
    assert "<script" not in svg
    assert 'role="img" aria-label="so &quot;it&quot; rises"' in svg


def test_what_is_not_finite_leaves_no_mark():
    gaps = finite(Line("a", [0, 1, 2], [np.nan, 1.0, np.inf]))
    assert (gaps.x.tolist(), gaps.y.tolist()) == ([1.0], [1.0])
    assert chart([Line("a", [0, 1], [np.nan, np.inf])], "nothing") is None
    assert "nan" not in chart([Line("a", [5], [0.0])], "one point")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7e5), (1e-9, 2e-9), (0.999, 1.001)])
def test_ticks_are_round_and_few(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in found)


def test_numbers_beside_an_axis_are_short():
    numbers = (0, 0.25, 1200, 35_000, 2e6, 7.5e-4, 1.5e15, -0.5, 1e10)
    assert [*map(short, numbers)] == ["0", "0.25", "1,200", "35k", "2M", "7.5e-4", "1.5e15", "-0.5", "1e10"]
