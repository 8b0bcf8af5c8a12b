from __future__ import annotations

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from reports import document
from reports.document.blocks import Plot
from reports.document.chart import Axis, Band, Chart, Marks, Rule
from reports.document.chart_table import chart_table
from reports.document.inline_svg import inline_svg, share_styles
from reports.document.pictures import draw_picture, draw_png, palette
from reports.document.wording import TO

STYLE = (Path(document.__file__).parent / "templates" / "report.css").read_text()
# Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
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
    picture = draw_picture(a_chart(EVIL)).svg
    assert [e.tag for e in ET.fromstring(picture).iter() if "script" in str(e.tag)] == []  # noqa: S314
    assert any(text == "<script>alert(1)</script> & $\\frac{1}{2}$  _x 🚀" for text in texts(picture))


def test_drawings_share_the_styles_that_they_have_as_attributes():
    drawn = {name: inline_svg(draw_picture(a_chart(name)).svg, name) for name in ("a", "b")}
    shared, sheet = share_styles(drawn)
    rules = dict(re.findall(r"\.(d\d+)\{([^}]*)\}", sheet))
    back = {name: re.sub(r'class="(d\d+)"', lambda m: f'style="{rules[m[1]]}"', one) for name, one in shared.items()}
    assert back == drawn
    assert len(set(rules.values())) == len(rules)


def test_a_name_that_begins_with_an_underscore_stays_in_the_legend():
    assert sum("_x" in text for text in texts(draw_picture(a_chart("_x")).svg)) == 4


def test_a_legend_of_24_leaves_a_chart_its_room():
    def pixels(series: int) -> float:
        """Between the highest and the lowest point."""
        marks = [Marks([1, 2], [0.0, 1.0], f"configuration {n}", line="solid", hover=["a", "b"]) for n in range(series)]
        picture = draw_picture(Chart(Axis("x"), Axis("y"), marks), 400)
        low, high, *_ = picture.points
        height = float(ET.fromstring(picture.svg).attrib["viewBox"].split()[3])  # noqa: S314
        return abs(high.y - low.y) * height

    assert pixels(24) > 0.9 * pixels(1) > 0


def test_the_same_chart_gives_the_same_bytes():
    assert draw_picture(a_chart()) == draw_picture(a_chart())


def test_a_watermark_is_in_the_picture():
    assert "simulated" in texts(draw_picture(a_chart(), watermark="simulated").svg)
    assert draw_png(a_chart(), watermark="simulated") != draw_png(a_chart())


def test_png_has_twice_the_pixels():
    width = int.from_bytes(draw_png(a_chart(), width=300)[16:20], "big")
    assert width == 600


@pytest.mark.parametrize("log", [False, True])
def test_ticks_stand_on_both_axes(log):
    words = texts(draw_picture(a_chart(log=log)).svg)
    assert {"0 %", "20 %", "120 %"} <= {word.replace("\u00a0", " ") for word in words}
    assert ("5" in words) == log or "10" in words


def test_every_colour_of_the_light_theme_is_known():
    assert {"ink", "accent", "better", "worse", "same", "muted", "grid", "ramp-1", "ramp-8", "series-4"} <= set(
        palette()
    )


def test_the_page_has_the_picture_with_its_own_ids_and_the_colours_of_the_theme():
    inlined = inline_svg(draw_picture(a_chart(EVIL)).svg, "run-1")
    root = ET.fromstring(inlined)  # noqa: S314
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(name.startswith("run-1-") for name in ids)
    assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", inlined)) <= set(ids)
    assert "var(--ramp-2)" in inlined
    assert not re.search("#[0-9a-f]{6}", inlined)
    assert "<script" not in inlined
    assert any(element.text == "<script>alert(1)</script> & $\\frac{1}{2}$  _x 🚀" for element in root.iter("text"))


def test_colours_that_are_equal_in_one_theme_are_equal_in_the_other():
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in STYLE.split("prefers-color-scheme")
    )
    same = [(a, b) for a in dark for b in dark if light[a] == light[b]]
    assert [(a, b) for a, b in same if dark[a] != dark[b]] == []


@pytest.mark.parametrize("log", [False, True])
def test_a_tooltip_is_where_the_picture_has_its_point(log):
    picture = draw_picture(a_chart(log=log))
    root = ET.fromstring(inline_svg(picture.svg, "p"))  # noqa: S314
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    drawn = [
        tuple(map(float, re.findall(r"[\d.]+", e.attrib["d"])[:2]))
        for e in root.iter("path")
        if "ramp-2" in e.get("style", "")
    ]
    first = picture.points[0]
    assert (first.x * width, first.y * height) == pytest.approx(drawn[0], abs=0.5)
    assert [point.text for point in picture.points] == ["width 512"] * 3


def test_the_values_of_a_chart_are_a_table_that_is_thinned_out_if_it_is_long():
    [x, name] = [Axis("x"), "width 512"]
    marks = Marks([1, 2], [0.9, 0.5], hover=[f"{name}\nkeeps 0.9", name], low=[0.8, None], high=[1.0, None])
    table = chart_table(Plot("Score", chart=Chart(x, Axis("share", form="percent"), [marks])))
    assert [[entry.text for entry in row.entries] for row in table.rows] == [
        [name, "1.00", "90 %", f"80 %{TO}100 %"],
        [name, "2.00", "50 %", "—"],
    ]
    many = Marks(range(1000), range(1000), hover=[name] * 1000)
    long = chart_table(Plot("Score", chart=Chart(x, Axis("y"), [many])))
    assert len(long.rows) <= 41
    assert long.caption == f"Score: values. {len(long.rows)} of 1000 points."
    assert chart_table(Plot("Score", chart=Chart(x, x, [Marks([1], [1])]))) is None


def _lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIELAB of a colour through a dichromat's eyes; `seen` maps linear RGB."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(seen @ linear, 0, 1) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", ["normal", "protanopia", "deuteranopia"])
@pytest.mark.parametrize("theme", [0, 1])
def test_verdicts_and_series_differ_to_every_eye(eyes, theme):
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", STYLE.split("prefers-color-scheme")[theme]))
    for group in (
        ("better", "worse", "same"),
        ("series-1", "series-2", "series-3", "series-4"),
        ("ramp-1", "ramp-4", "ramp-8"),
    ):
        seen = [_lab(colours[name], EYES[eyes]) for name in group]
        assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 12
