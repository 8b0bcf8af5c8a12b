from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from reports.document.chart import Axis, Band, Chart, Marks, Rule
from reports.document.pictures import draw_picture, palette

EVIL = "<script>alert(1)</script> & $\\frac{1}{2}$ \x00\x08\ufffe _x 🚀"


def a_chart(name: str = "width 512", *, log: bool = False) -> Chart:
    return Chart(
        Axis(name, log=log),
        Axis("share", (0.0, 1.2), form="percent"),
        [
            Marks([1, 2, 30], [0.1, 0.5, 1.0], name, "ramp-2", line="dash", hover=[name] * 3),
            Marks([1, 2], [0.4, 0.6], colour="better", symbol="circle-open", low=[0.3, None], high=[0.5, None], texts=[name, "b"]),
        ],
        [Rule(0.5), Rule(2, "x", "solid")],
        [Band(1, 2, name)],
    )  # fmt: skip


def texts(picture: bytes) -> list[str]:
    """The words of an SVG."""
    return [element.text or "" for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_words_from_outside_are_words_in_the_picture():
    picture = draw_picture(a_chart(EVIL))
    assert [e.tag for e in ET.fromstring(picture).iter() if "script" in str(e.tag)] == []  # noqa: S314
    assert any(text == "<script>alert(1)</script> & $\\frac{1}{2}$  _x 🚀" for text in texts(picture))


def test_a_name_that_begins_with_an_underscore_stays_in_the_legend():
    assert sum("_x" in text for text in texts(draw_picture(a_chart("_x")))) == 4


def test_the_same_chart_gives_the_same_bytes():
    assert draw_picture(a_chart()) == draw_picture(a_chart())


def test_png_has_twice_the_pixels():
    width = int.from_bytes(draw_picture(a_chart(), "png", width=300)[16:20], "big")
    assert width == 600


@pytest.mark.parametrize("log", [False, True])
def test_ticks_stand_on_both_axes(log):
    words = texts(draw_picture(a_chart(log=log)))
    assert {"0%", "20%", "120%"} <= set(words)
    assert ("5" in words) == log or "10" in words


def test_every_colour_of_the_light_theme_is_known():
    assert {"ink", "accent", "better", "worse", "same", "muted", "grid", "ramp-1", "ramp-8", "series-4"} <= set(
        palette()
    )
