"""Articles as one self-contained HTML page: template, style, script and plotly are inlined; the page fetches nothing.

The template escapes all external text, and the page's content security policy allows only our own scripts, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from reports.document.blocks import SIGNS, Article
from reports.document.plotly_chart import plotly_figure
from reports.document.wording import TO, sentence

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(articles: Sequence[Article], pictures: Mapping[str, bytes]) -> str:
    """The HTML of one or more articles in sequence.

    pictures: the SVG of every plot that has a chart, by its id; shown in print, and where scripts do not run.
    """
    scripts = [get_plotlyjs(), (_TEMPLATES / "report.js").read_text("utf-8")]
    plots = {plot_id: plot for article in articles for plot_id, plot in article.plots()}
    figures = {plot_id: plotly_figure(plot.chart) for plot_id, plot in plots.items() if plot.chart}
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # An image element never runs the scripts of an SVG.
    stills = {plot_id: f"data:image/svg+xml;base64,{_base64(picture)}" for plot_id, picture in pictures.items()}
    environment.globals.update(signs=SIGNS, stills=stills, ids={id(plot): plot_id for plot_id, plot in plots.items()})
    environment.filters.update(sentence=sentence, unbroken=_unbroken, kind=lambda block: type(block).__name__, key=id)
    return environment.get_template("report.html").render(
        articles=articles,
        title=", ".join(article.title for article in articles),
        # Our own files are inserted unescaped; figures contain external text, so `_json` keeps them from ending their script element.
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        figures=Markup(_json(figures)),  # noqa: S704
    )  # fmt: skip


def _unbroken(text: str) -> str:
    """Add word joiners, so that no line breaks inside an interval."""
    return text.replace(TO, f"\u2060{TO}\u2060")


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: it contains no "<"."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _digest(script: str) -> str:
    return _base64(hashlib.sha256(script.encode()).digest())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
