"""A sandbox for chat templates, which come with checkpoints from anywhere: no access to Python's internals, and limits.

Jinja's own sandbox forbids underscores, changes of what is passed in, and ranges of more than 100,000. This one adds: every
iteration and every call checks the processor time spent; all output, also into variables and out of macros, is
counted; strings, lists and integers do not grow beyond a limit by operators, widths or formats. Not limited: a single operation
of Python runs to its end, so that repeated joins and replacements of large strings are bounded only by their arguments.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

_BUDGET = "the budget"  # a variable that no template can name
_STEPS, _WRITTEN, _BOUNDED = "of the budget", "on the budget", "in the budget"  # filters that none can name
_LONGEST = 16_000_000  # characters or members of one value
_LONGEST_INTEGER = 4096  # bits
_WIDEST = 100_000  # characters to which a text is padded
_STEPS_PER_CHECK = 32  # of the clock
_PADDING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_WIDE_FORMAT = re.compile(r"\d{6,}|\{[^{}]*\{|%[^a-zA-Z%]*\*")  # or of a width that is an argument


class OutOfTimeError(Exception):
    """The template has exceeded its time limit."""


class TooLargeError(Exception):
    """The template writes or creates more than it may."""


class Budget:
    """The limits of one rendering: seconds of the thread's processor time, and characters written."""

    def __init__(self, seconds: float, characters: int) -> None:
        self._seconds = seconds
        self._until = time.thread_time() + seconds
        self._characters = self._left = characters
        self._steps = 0

    def step(self) -> None:
        """Count one iteration or call."""
        self._steps += 1
        if self._steps % _STEPS_PER_CHECK == 0 and time.thread_time() > self._until:
            raise OutOfTimeError(f"it takes more than {self._seconds:g} s")

    def write(self, characters: int) -> None:
        """Count text of that length, written to the output or to a variable."""
        self._left -= characters
        if self._left < 0:
            raise TooLargeError(f"it writes more than {self._characters} characters")


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates are rendered with `limited` variables."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        center, indent, form = (self.filters[name] for name in ("center", "indent", "format"))
        self.filters |= {
            _STEPS: _counted_steps,
            _WRITTEN: _written,
            _BOUNDED: _bounded,
            "center": lambda value, width=80: center(value, _width(width)),
            "indent": lambda s, width=4, first=False, blank=False: indent(s, _width(width), first, blank),
            "format": lambda value, *args, **named: form(_narrow_format(value), *args, **named),
        }

    def call(self, context: Context, obj: Any, /, *args: Any, **named: Any) -> Any:
        """Calls of functions, macros and methods."""
        context.parent[_BUDGET].step()
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name in _PADDING:
            args = tuple(map(_width, args))
        return _bounded(super().call(context, obj, *args, **named))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja's hook for `str.format` and `str.format_map`."""
        formatted = super().wrap_str_format(value)
        if formatted is not None:
            _narrow_format(value.__self__)
        return formatted

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`+ * ** %`, whose results can be far larger than their operands."""
        context.parent[_BUDGET].step()
        size = bits = 0
        match operator, left, right:
            case "%", str(), _:
                _narrow_format(left)
            case "+", (str() | list() | tuple()), (str() | list() | tuple()):
                size = len(left) + len(right)
            case "*", (str() | list() | tuple()), int():
                size = len(left) * right
            case "*", int(), (str() | list() | tuple()):
                size = left * len(right)
            case "*", int(), int():
                bits = left.bit_length() + right.bit_length()
            case "**", int(), int():
                bits = left.bit_length() * abs(right)
        if size > _LONGEST or bits > _LONGEST_INTEGER:
            raise TooLargeError(f"the result of {operator} is too large")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **named: Any) -> str:
        """Jinja's hook between parsing and code: puts the budget's filters into the template."""
        _watch(source)
        return super()._generate(source, *args, **named)


def limited(variables: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """The variables of one rendering."""
    return {**variables, _BUDGET: budget}


def _watch(node: nodes.Node) -> None:
    """Wrap the iterables of loops, everything written, and the results of `~`."""
    for child in node.iter_child_nodes():
        _watch(child)
    match node:
        case nodes.For():
            node.iter = _through(_STEPS, node.iter)
        case nodes.Output():
            node.nodes = [_through(_WRITTEN, _as_expression(child)) for child in node.nodes]
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Concat):
            setattr(node, name, _through(_BOUNDED, value))
        elif isinstance(value, list):
            value[:] = [_through(_BOUNDED, one) if isinstance(one, nodes.Concat) else one for one in value]


def _as_expression(node: nodes.Node) -> nodes.Node:
    return nodes.Const(node.data, lineno=node.lineno) if isinstance(node, nodes.TemplateData) else node


def _through(name: str, node: Any) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


@pass_context
def _counted_steps(context: Context, members: Iterable[Any]) -> Iterator[Any]:
    step = context.parent[_BUDGET].step
    for member in members:
        step()
        yield member


@pass_context
def _written(context: Context, value: Any) -> Any:
    context.parent[_BUDGET].write(len(value) if isinstance(value, str) else len(str(value)))
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        raise TooLargeError(f"it makes a text of {len(value)} characters")
    return value


def _width(width: Any) -> Any:
    if isinstance(width, int) and width > _WIDEST:
        raise TooLargeError(f"a width of {width} characters is too large")
    return width


def _narrow_format(form: Any) -> Any:
    if isinstance(form, str) and _WIDE_FORMAT.search(form):
        raise TooLargeError("a format with a width of 100,000 characters or more, or one that is an argument")
    return form
