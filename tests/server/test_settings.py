"""Everything the server can be told can be told on the command line, with the same default."""

from __future__ import annotations

import inspect

from prunebench.commands.serve import serve
from server.settings import ServeSettings


def test_every_setting_is_an_option_of_serve_with_the_same_default():
    options = {name: parameter.default for name, parameter in inspect.signature(serve).parameters.items()}
    assert options.pop("engine_option") is None  # KEY=VALUE, many times; becomes engine_options
    settings = {name: field.default for name, field in ServeSettings.model_fields.items()}
    assert settings.pop("engine_options") == {}
    assert options.keys() == settings.keys()
    del options["checkpoint"], settings["checkpoint"]  # the argument
    assert options == settings
