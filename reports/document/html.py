"""Articles as one self-contained HTML page: style, script and pictures are inlined; the page fetches nothing.

The template escapes all external text, and the page's content security policy allows only our own script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.document.blocks import SIGNS, Article
from reports.document.chart_table import chart_table
from reports.document.inline_svg import inline_svg, share_styles
from reports.document.pictures import Picture
from reports.document.wording import TO, sentence

_TEMPLATES = Path(__file__).parent / "templates"
_PERCENT = re.compile(r"(?<=\d) %")  # no line breaks before the sign


def render_page(articles: Sequence[Article], pictures: Mapping[str, Picture]) -> str:
    """The HTML of one or more articles in sequence.

    pictures: of every plot that has a chart, by its id.
    """
    drawn, sheet = share_styles({plot_id: inline_svg(picture.svg, plot_id) for plot_id, picture in pictures.items()})
    return render_template(
        "report.html",
        "report.js",
        articles=articles,
        title=", ".join(article.title for article in articles),
        signs=SIGNS,
        drawings={plot_id: Markup(drawing) for plot_id, drawing in drawn.items()},  # noqa: S704
        sheet=Markup(sheet),  # noqa: S704
        ids={id(placed.plot): placed.id for article in articles for placed in article.plots()},
        # Tooltips contain external text, so `_json` keeps them from ending their script element.
        points=Markup(_json({plot_id: picture.points for plot_id, picture in pictures.items()})),  # noqa: S704
    )


def render_template(template: str, script_name: str, **values: Any) -> str:
    """A page of one of our templates, with the style of all pages and the only script that it allows."""
    script = (_TEMPLATES / script_name).read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        sentence=sentence, unbroken=_unbroken, kind=lambda block: type(block).__name__, key=id, chart_table=chart_table
    )
    environment.globals.update(values)
    page = environment.get_template(template).render(
        # Our own files are inserted unescaped.
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return _PERCENT.sub("\u00a0%", page)


def _unbroken(text: str) -> str:
    """Add word joiners, so that no line breaks inside an interval."""
    return text.replace(TO, f"\u2060{TO}\u2060")


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: it contains no "<"."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
