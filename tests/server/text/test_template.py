from __future__ import annotations

import json

import pytest

from server.settings import ServeError
from server.text.template import ChatTemplate, ChatTemplateError, find_template

HI = [{"role": "user", "content": "hi"}]


def rendered(source, messages=HI, **extra):
    return ChatTemplate(source, {"bos_token": "<s>"}).render(messages, add_generation_prompt=True, extra=extra)


def write_config(folder, **config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_blocks_leave_no_lines_and_tojson_no_html(tmp_path):
    source = (
        "{{ bos_token }}\n{% for m in messages %}\n    {% if true %}\n{{ m | tojson }}\n    {% endif %}\n{% endfor %}\n"
    )
    assert rendered(source, [{"role": "user", "content": "<é>"}]) == '<s>\n{"role": "user", "content": "<é>"}\n'


def test_transformers_renders_the_same(tmp_path):
    """The reference, on what templates in use rely on: loop control, slices, dates, generation marks, namespaces."""
    from transformers.utils.chat_template_utils import render_jinja_template

    source = (
        "{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% if m.role == 'skip' %}{% continue %}{% endif %}\n"
        "  {% generation %}{{ m.content | trim }}{% endgeneration %}\n{% set ns.n = ns.n + 1 %}{% endfor %}"
        "{{ ns.n }} {{ strftime_now('%Y') }} {{ tools is defined }} {{ messages | tojson(indent=2) }}"
    )
    messages = [
        {"role": "user", "content": " hi "},
        {"role": "skip", "content": "no"},
        {"role": "assistant", "content": "yo"},
    ]
    reference, _ = render_jinja_template([messages], chat_template=source, tools=None, add_generation_prompt=True)
    mine = rendered(source, messages, tools=None)
    assert mine == reference[0]


def test_extra_variables_reach_the_template_but_not_over_its_own():
    assert rendered("{{ enable_thinking }}", enable_thinking=False) == "False"
    with pytest.raises(ChatTemplateError, match="messages"):
        ChatTemplate("x", {}).render(HI, add_generation_prompt=True, extra={"messages": []})


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ messages[0].content + 1 }}", "{{ 1 // 0 }}"],
)
def test_what_a_template_may_not_do_is_a_refusal(source):
    with pytest.raises(ChatTemplateError):
        rendered(source)


def test_the_jinja_file_goes_before_the_config(tmp_path):
    write_config(tmp_path, chat_template="config")
    assert find_template(tmp_path).render(HI, add_generation_prompt=True, extra={}) == "config"
    (tmp_path / "chat_template.jinja").write_text("file {{ eos_token }}")
    write_config(tmp_path, chat_template="config", eos_token={"content": "</s>"})
    assert find_template(tmp_path).render(HI, add_generation_prompt=True, extra={}) == "file </s>"


def test_of_several_templates_the_default_is_taken(tmp_path):
    write_config(tmp_path, chat_template=[{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}])
    assert find_template(tmp_path).render(HI, add_generation_prompt=True, extra={}) == "d"


def test_no_template_is_none(tmp_path):
    assert find_template(tmp_path) is None
    write_config(tmp_path, bos_token="<s>")
    assert find_template(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ('{"chat_template": "{% if %}"}', "the chat template cannot be used"),
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, config, complaint):
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(ServeError, match=rf"tokenizer_config\.json: {complaint}"):
        find_template(tmp_path)
