import dataclasses
from typing import Any, Literal

import pytest

from server.engines.base import EngineError
from server.engines.options import parse_options


@dataclasses.dataclass
class Settings:
    eager: bool = False
    length: int = 0
    limit: int | None = None
    share: float = 0.5
    dtype: Literal["auto", "half"] = "auto"
    name: str | None = None
    extra: dict[str, Any] | None = None
    token: bool | str | None = None
    odd: "Unresolvable" = None  # noqa: F821 - vLLM has such annotations


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("eager", "true", True),
        ("eager", "Off", False),
        ("length", "-1", -1),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("share", "0.9", 0.9),
        ("share", "1", 1.0),
        ("dtype", "half", "half"),
        ("name", "123", "123"),
        ("extra", '{"mode": 3}', {"mode": 3}),
        ("token", "yes", True),
        ("token", "hf_x", "hf_x"),
        ("odd", "[1]", [1]),
        ("odd", "plain", "plain"),
    ],
)
def test_text_is_read_by_the_type_of_the_field(key, text, value):
    (found,) = parse_options(readable(key), {key: text}).values()
    assert found == value
    assert type(found) is type(value)


def readable(key):
    """The settings, without the field whose annotation hides the others' unless that is asked for."""
    if key == "odd":
        return Settings
    return dataclasses.make_dataclass("Readable", [(f.name, f.type, f) for f in dataclasses.fields(Settings)[:-1]])


MISTAKES = {
    "eager=perhaps": "expected true or false",
    "length=1.5": "expected an integer",
    "share=half": "expected a number",
    "dtype=int4": "expected auto or half",
    "extra={": "expected JSON",
    "lenght=3": "did you mean length",
    "quux=3": "known ones are",
}


@pytest.mark.parametrize(("given", "says"), MISTAKES.items())
def test_an_error_names_the_option_and_what_it_takes(given, says):
    key, _, text = given.partition("=")
    with pytest.raises(EngineError, match=rf"--engine-option {key}.*{says}"):
        parse_options(Settings, {key: text})
