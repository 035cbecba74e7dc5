from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report.charts import BARS_HEIGHT, WIDTH, Group, Points, bars, scatter


def drawing(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart[: chart.index("</svg>") + len("</svg>")])


def test_bars_are_as_high_as_their_values() -> None:
    chart = bars(["a", "b"], [Group("n", [5, 10], "colour-blue")], "x", "y")
    low, high = (float(bar.attrib["height"]) for bar in drawing(chart).iter("rect"))
    assert high == pytest.approx(2 * low, abs=0.2)
    assert [bar[0].text for bar in drawing(chart).iter("rect")] == ["a: n: 5", "b: n: 10"]


def test_a_value_that_is_not_there_has_no_bar() -> None:
    assert bars(["a", "b"], [Group("n", [None, 1], "colour-blue")], "x", "y").count("<rect") == 1


@given(st.lists(st.floats(0, 1e7), max_size=40), st.text(max_size=10))
def test_bars_lie_in_their_chart_whatever_is_counted(values: list[float], label: str) -> None:
    label = "".join(character for character in label if character.isprintable())
    chart = bars([label] * len(values), [Group(label, values, "colour-blue")], label, label)
    svg = drawing(chart)
    for bar in svg.iter("rect"):
        x, y, width, height = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= WIDTH
        assert 0 <= y <= y + height <= BARS_HEIGHT + 0.1
    assert len(list(svg.iter("rect"))) == len(values)


def test_ticks_of_counts_are_whole_numbers() -> None:
    for largest in (0, 1, 3, 7, 19, 150, 22_919):
        chart = bars(["a"], [Group("", [largest], "colour-blue")], "x", "y")
        ticks = [
            text.text or "" for text in drawing(chart).iter("text") if text.attrib["class"] == "tick end"
        ]
        assert all(re.fullmatch(r"[0-9,]+", tick) for tick in ticks), ticks
        assert 2 <= len(ticks) <= 6
        assert int(ticks[-1].replace(",", "")) >= largest


def test_texts_are_escaped() -> None:
    chart = bars(["<b>"], [Group("<i>", [1], "colour-blue")], "<u>", "&")
    assert not re.search("<[biu]>", chart)
    assert drawing(chart).attrib["aria-label"] == "& by <u>"


def test_the_head_is_at_the_top() -> None:
    chart = scatter([Points("p", [0.0, 1.0], [0.1, 0.9], "colour-blue")], "x", "z")
    places = [tuple(map(float, m)) for m in re.findall(r"M([\d.]+) ([\d.]+)h0", chart)]
    (x_first, y_first), (x_second, y_second) = places
    assert x_first < x_second
    assert y_first < y_second
    assert "p (2)" in chart
