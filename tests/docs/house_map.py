"""The map of rooms and wings in docs/structure.md, drawn from the imports that grimp finds."""

from __future__ import annotations

import ast
import textwrap
from collections import defaultdict
from pathlib import Path

import grimp

PAGE = "docs/structure.md"
BEGIN, END = "<!-- map: written by python -P -m tests.docs -->", "<!-- /map -->"
ROOT = Path(__file__).parents[2]
ROOMS = ("prunebench", "reports", "pruner", "server", "loadgen", "energy", "base")  # from the top down
Imports = dict[str, set[str]]


def render(graph: grimp.ImportGraph | None = None) -> str:
    """The map in Markdown, between its marks."""
    imports = wing_imports(graph or grimp.build_graph(*ROOMS, cache_dir=None))
    rooms = {room: {_room_of(to) for by in imports if _room_of(by) == room for to in imports[by]} for room in ROOMS}
    parts = [part for room in ROOMS for part in _room(room, imports)]
    return "\n".join([BEGIN, "", *_drawing(rooms), *parts, END])


def wing_imports(graph: grimp.ImportGraph) -> Imports:
    """What each wing imports from others. A wing is a room's sub-package, or a module in the room's own folder."""
    found: Imports = defaultdict(set)
    for module in graph.modules - set(ROOMS):
        found[_wing(module)] |= set()
        for imported in graph.find_modules_directly_imported_by(module) - set(ROOMS):
            found[_wing(module)] |= {_wing(imported)} - {_wing(module)}
    return dict(sorted(found.items()))


def _wing(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _room_of(wing: str) -> str:
    return wing.partition(".")[0]


def _drawing(imports: Imports) -> list[str]:
    """An arrow for each import that no longer way implies: `a → c` is left out beside `a → b → c`."""
    arrows = [
        f"  {_node(by)} --> {_node(to)}" for by in imports for to in sorted(imports[by]) if _drawn(by, to, imports)
    ]
    return ["```mermaid", "flowchart TD", *arrows, "```", ""]


def _node(wing: str) -> str:
    return _name(wing).replace(".py", "[") + f"{_name(wing)}]" if _name(wing).endswith(".py") else _name(wing)


def _drawn(by: str, to: str, imports: Imports) -> bool:
    """Circles are drawn whole."""
    ways = imports[by] - {by, to}
    return by != to and not any(
        to in _below(way, imports) and by not in _below(way, imports) and way not in _below(to, imports) for way in ways
    )


def _below(wing: str, imports: Imports) -> set[str]:
    """All that a wing imports, directly or through others."""
    reached: set[str] = set()
    waiting = {wing}
    while waiting:
        new = imports[waiting.pop()] - reached
        reached |= new
        waiting |= new
    return reached


def _room(room: str, imports: Imports) -> list[str]:
    """A drawing and a table, from the wings that import most of their neighbours down to those that all rest on."""
    inside = {by: {to for to in imports[by] if _room_of(to) == room} for by in imports if _room_of(by) == room}
    ordered = {wing: inside[wing] for wing in _from_the_top(inside)}
    rows = []
    for wing, own in ordered.items():
        elsewhere = [other for other in ROOMS if other in {_room_of(to) for to in imports[wing]} - {room}]
        cells = [f"`{_path(wing)}`", _purpose(wing), ", ".join(map(_name, sorted(own))), ", ".join(elsewhere)]
        rows.append(f"| {' | '.join(cell or '—' for cell in cells)} |")
    head = ["| wing or file | holds | imports of its room | imports of other rooms |", "| --- | --- | --- | --- |"]
    about = [f"### `{room}/`", "", textwrap.fill(_docstring(ROOT / room / "__init__.py"), 100), ""]
    return [*about, *(_drawing(ordered) if any(ordered.values()) else []), *head, *rows, ""]


def _from_the_top(inside: Imports) -> list[str]:
    """Each wing before those that it imports, as far as they form no circle (Eades, Lin and Smyth's order)."""
    left, top, bottom = dict(inside), [], []
    while left:
        imported = {wing: sum(wing in others for others in left.values()) for wing in left}
        imports = {wing: len(left[wing] & set(left)) for wing in left}
        name = min(left, key=lambda wing: (imports[wing] > 0, imported[wing] > 0, imported[wing] - imports[wing], wing))
        (bottom if not imports[name] and imported[name] else top).append(name)
        del left[name]
    return [*top, *reversed(bottom)]


def _name(wing: str) -> str:
    """Within its room: `meters`, `sampler.py`; of a room its name."""
    is_file = "." in wing and not ROOT.joinpath(*wing.split(".")).is_dir()
    return f"{wing.rpartition('.')[2]}.py" if is_file else wing.rpartition(".")[2]


def _path(wing: str) -> str:
    return f"{_room_of(wing)}/{_name(wing)}" + ("" if _name(wing).endswith(".py") else "/")


def _purpose(wing: str) -> str:
    path = ROOT / _path(wing)
    return _docstring(path / "__init__.py" if path.is_dir() else path)


def _docstring(file: Path) -> str:
    """Its first paragraph."""
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) if file.exists() else None
    return " ".join((text or "").partition("\n\n")[0].split()).replace("|", r"\|")
