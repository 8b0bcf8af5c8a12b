"""A picture inside the page: in the colours of the page's theme, with ids that are unique in the page, and with text to search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET
from xml.sax.saxutils import unescape

from reports.document.pictures import BACKGROUND, palette

_COLOUR = re.compile("#[0-9a-f]{6}")
_FONT = re.compile("font-family: [^;]+; ")
_DIGITS = re.compile(r"(\.\d)\d+")  # a tenth of a pixel is enough
_STYLE = re.compile(r'style="([^"]*)"')
_REFERENCE = re.compile(r"(?<=^#)[\w-]+$|(?<=url\(#)[\w-]+(?=\))")


def inline_svg(svg: bytes, plot_id: str) -> str:
    """The SVG element for a page: colours are the style sheet's variables, ids begin with `plot_id`, the background is left out."""
    root = ET.fromstring(svg)  # noqa: S314  # our own drawing
    variables = {colour: f"var(--{name})" for name, colour in reversed(palette().items())}
    referred = {name for node in root.iter() for value in node.attrib.values() for name in _REFERENCE.findall(value)}
    for node in root.iter():
        for child in [child for child in node if _is_left_out(child)]:
            node.remove(child)
        identity = node.attrib.pop("id", None)
        node.attrib = {_local(key): _shortened(value, plot_id, variables) for key, value in node.attrib.items()}
        if identity in referred:
            node.set("id", f"{plot_id}-{identity}")
        node.tag, node.tail = _local(node.tag), None
        if node.tag != "text":
            node.text = None
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    return ET.tostring(root, encoding="unicode")


def share_styles(drawings: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The drawings with classes in place of their style attributes, and the style sheet of these."""
    classes: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        return f'class="{classes.setdefault(match[1], f"d{len(classes)}")}"'

    shared = {plot_id: _STYLE.sub(named, drawing) for plot_id, drawing in drawings.items()}
    return shared, "".join(f".{name}{{{unescape(style)}}}" for style, name in classes.items())


def _is_left_out(node: ET.Element) -> bool:
    """Metadata, styles of the whole document, the background, and empty groups."""
    tag = _local(node.tag)
    return tag in {"metadata", "style"} or node.get("id") == BACKGROUND or (tag == "g" and len(node) == 0)


def _shortened(value: str, plot_id: str, variables: dict[str, str]) -> str:
    """An attribute with unique references, the page's colours and fonts, and fewer digits."""
    renamed = _REFERENCE.sub(lambda match: f"{plot_id}-{match[0]}", value)
    coloured = _COLOUR.sub(lambda match: variables.get(match[0], match[0]), renamed)
    return " ".join(_DIGITS.sub(r"\1", _FONT.sub("", coloured)).split())


def _local(name: str) -> str:
    return name.rpartition("}")[2]
