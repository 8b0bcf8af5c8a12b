"""A terminal that prints control characters visibly and never executes them: names, errors and answers are external text.

Tables fit the width (`reports.document.fitting`), and fold a word that is longer still, where rich would truncate it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from base.terminal import draws_bars, draws_colours
from reports.document.fitting import fitted

# C0 except tab and line feed, delete, C1, and Unicode's bidi controls, which reorder text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Replace control characters by their control pictures, or by escapes where there is none."""
    return _CONTROLS.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"


class Console(RichConsole):
    """rich's console without interpretation of printed text: only rich itself sets colours and moves the cursor, and `:b:` is no emoji.

    NO_COLOR, CI and TERM=dumb leave no escape code at all, bold included.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"emoji": False, "color_system": "auto" if draws_colours() else None, **options})
        self._draws = options.get("force_terminal")

    @property
    def draws(self) -> bool:
        """Whether bars and live views may be drawn, rather than lines printed."""
        return self._draws or draws_bars(self.file)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments, with control characters in their text replaced."""
        if (
            isinstance(renderable, Table) and renderable.columns and renderable.show_header
        ):  # else a layout: a bar, a live view
            for column in renderable.columns:
                column.overflow, column.no_wrap = "fold", False
            for part in fitted(renderable, self, options or self.options):
                yield from self._visible(part, options)
        else:
            yield from self._visible(renderable, options)

    def _visible(self, renderable: RenderableType, options: ConsoleOptions | None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)
