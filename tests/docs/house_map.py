"""The map of rooms and wings in docs/structure.md, drawn from the imports that grimp finds."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import grimp

PAGE = "docs/structure.md"
BEGIN, END = "<!-- map: written by python -P -m tests.docs -->", "<!-- /map -->"
ROOT = Path(__file__).parents[2]
ROOMS = ("prunebench", "reports", "pruner", "server", "loadgen", "energy", "base")  # from the top down


def render(graph: grimp.ImportGraph | None = None) -> str:
    """The map in Markdown, between its marks."""
    imports = wing_imports(graph or grimp.build_graph(*ROOMS, cache_dir=None))
    parts = [part for room in ROOMS for part in _room(room, imports)]
    return "\n".join([BEGIN, "", *_mermaid(imports), *parts, END])


def wing_imports(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """What each wing imports from others. A wing is a room's sub-package, or the room's name for its own files."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        found[_wing(module)] |= set()
        for imported in graph.find_modules_directly_imported_by(module):
            found[_wing(module)] |= {_wing(imported)} - {_wing(module)}
    return found


def _wing(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and ROOT.joinpath(*parts[:2]).is_dir() else parts[0]


def _mermaid(imports: dict[str, set[str]]) -> list[str]:
    """The rooms alone: an arrow for each room that imports another."""
    arrows = [f"  {room} --> {other}" for room in ROOMS for other in ROOMS if other in _rooms_of(room, imports)]
    return ["```mermaid", "flowchart TD", *arrows, "```", ""]


def _rooms_of(room: str, imports: dict[str, set[str]]) -> set[str]:
    return {_room_of(other) for wing, others in imports.items() if _room_of(wing) == room for other in others} - {room}


def _room_of(wing: str) -> str:
    return wing.partition(".")[0]


def _room(room: str, imports: dict[str, set[str]]) -> list[str]:
    """One table a room, from the wing that imports most of its neighbours down to the one that they rest on."""
    inside = {wing: {w for w in imports[wing] if _room_of(w) == room} for wing in _wings(room, imports)}
    rows = []
    for wing in _from_the_top(inside):
        own = ", ".join(_names(inside[wing], room))
        elsewhere = ", ".join(other for other in ROOMS if other in {_room_of(w) for w in imports[wing]} - {room})
        rows.append(f"| {_path(wing)} | {_purpose(wing)} | {own or '—'} | {elsewhere or '—'} |")
    head = ["| wing | holds | imports of its room | imports of other rooms |", "| --- | --- | --- | --- |"]
    return [f"### `{room}/`", "", *head, *rows, ""]


def _wings(room: str, imports: dict[str, set[str]]) -> set[str]:
    return {room} | {wing for wing in imports if _room_of(wing) == room}


def _names(wings: Iterable[str], room: str) -> list[str]:
    return sorted("its files" if wing == room else wing.removeprefix(f"{room}.") for wing in wings)


def _path(wing: str) -> str:
    return f"`{wing.replace('.', '/')}/`" if "." in wing else "its files"


def _from_the_top(inside: dict[str, set[str]]) -> list[str]:
    """Each wing before those that it imports, as far as they form no circle (Eades, Lin and Smyth's order)."""
    left, top, bottom = dict(inside), [], []
    while left:
        imported = {wing: sum(wing in others for name, others in left.items() if name != wing) for wing in left}
        imports = {wing: len(left[wing] & set(left) - {wing}) for wing in left}
        name = min(left, key=lambda wing: (imports[wing] > 0, imported[wing] > 0, imported[wing] - imports[wing], wing))
        (bottom if not imports[name] and imported[name] else top).append(name)
        del left[name]
    return [*top, *reversed(bottom)]


def _purpose(wing: str) -> str:
    """First sentence of the package's docstring."""
    text = ast.get_docstring(ast.parse(ROOT.joinpath(*wing.split("."), "__init__.py").read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())
