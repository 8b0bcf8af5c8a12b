"""Templates against transformers' own rendering, and templates that would never end or never fit."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.text.template import ChatTemplate, ChatTemplateError, find_template
from server.text.template_sandbox import OutOfTimeError
from tests.server.conftest import running_server, write_checkpoint

LLAMA = r"""
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not tools_in_user_message is defined %}{%- set tools_in_user_message = true %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}{{- "Environment: ipython\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}{{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\n\n" }}{%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}
"""

QWEN = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}{%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
            {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}{{- '<|im_start|>' + message.role + '\n' + content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\n{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' ~ message.content ~ '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}
"""

COMMAND_R = r"""
{{ bos_token }}{% macro shown(document, number) %}Document: {{ number }}
{% for key, value in document|items %}{{ key }}: {{ value }}
{% endfor %}{% endmacro %}
{% if documents %}<results>
{% for document in documents %}
{{ shown(document, loop.index0) }}{% if not loop.last %}--{{ loop.revindex }} of {{ loop.length }}
{% endif %}
{% endfor %}
</results>
{% elif documents is none %}no documents
{% endif %}
{% set text %}{% for message in messages %}{{ loop.cycle('a', 'b') }}{{ message.role|upper }}: {{ message.content }}{{ eos_token }}
{% else %}nobody{% endfor %}{% endset %}{{ text|trim }}{{ sep_token }}{{ unk_token is defined }}
{%- if add_generation_prompt %}{{ "CHATBOT:" }}{% endif %}
"""

TOOL = {"type": "function", "function": {"name": "weather", "description": "<é>", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
HI = {"role": "user", "content": "hi "}
CALLED = [HI, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "22 °C"}]
THOUGHT = [HI, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes"}, HI, {"role": "assistant", "content": "a", "reasoning_content": "r"}]  # fmt: skip
SYSTEM = [{"role": "system", "content": " be brief\n"}, HI]
DOCUMENTS = [{"title": "one", "text": "first"}, {"title": "two", "text": "second"}]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A checkpoint's template here, and its tokenizer in transformers."""
    from transformers import PreTrainedTokenizerFast

    made = {}

    def of(template, **config):
        if template not in made:
            folder = write_checkpoint(tmp_path_factory.mktemp("templates") / "tiny", template=template)
            tokens = {
                "bos_token": {"content": "<s>", "lstrip": False, "__type": "AddedToken"},
                "eos_token": "</s>",
                "sep_token": {"content": "<sep>", "special": True, "__type": "AddedToken"},
                "pad_token": None,
            }
            (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, **tokens, **config}))
            made[template] = find_template(folder), PreTrainedTokenizerFast.from_pretrained(folder)
        return made[template]

    return of


def rendered_twice(both, template, messages, **given):
    mine, theirs = both(template)
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **given)
    return mine.render(messages, add_generation_prompt=True, extra=given), expected


@pytest.mark.parametrize(
    ("template", "messages", "given"),
    [
        (LLAMA, SYSTEM, {}),
        (LLAMA, CALLED, {"tools": [TOOL]}),
        (LLAMA, SYSTEM, {"tools": [TOOL, TOOL], "tools_in_user_message": False, "date_string": "1 May 2026"}),
        (LLAMA, SYSTEM, {"tools": []}),
        (QWEN, SYSTEM, {}),
        (QWEN, CALLED, {"tools": [TOOL]}),
        (QWEN, THOUGHT, {"enable_thinking": False}),
        (QWEN, THOUGHT, {"enable_thinking": True}),
        (COMMAND_R, [HI], {"documents": DOCUMENTS}),
        (COMMAND_R, [HI, HI, HI], {}),
        (COMMAND_R, [HI], {"documents": []}),
    ],
)
def test_transformers_renders_these_the_same(both, template, messages, given):
    mine, expected = rendered_twice(both, template, messages, **given)
    assert mine == expected


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])


@settings(deadline=None)
@given(
    template=st.sampled_from([LLAMA, QWEN, COMMAND_R]),
    messages=st.lists(st.fixed_dictionaries({"role": ROLES, "content": st.text(max_size=20)}), min_size=1, max_size=6),
)
def test_transformers_renders_any_messages_the_same(both, template, messages):
    mine, expected = rendered_twice(both, template, messages)
    assert mine == expected


def test_requests_with_tools_get_the_template_for_them(tmp_path):
    """Of a list in the configuration; transformers chooses in the same way."""
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools|tojson }}"}]
    template = find_template(write_checkpoint(tmp_path / "tiny", template=named))
    assert template.render([HI], add_generation_prompt=True, extra={"tools": [{"a": 1}]}) == '[{"a": 1}]'
    assert template.render([HI], add_generation_prompt=True, extra={}) == "plain"


def test_named_templates_are_found_where_transformers_saves_them(tmp_path):
    folder = write_checkpoint(tmp_path / "tiny")
    (folder / "chat_template.jinja").write_text("plain")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools[0].a }}")
    assert find_template(folder).render([HI], add_generation_prompt=True, extra={"tools": [{"a": 1}]}) == "1"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tools": [TOOL]}, "no place for tools"),
        ({"documents": DOCUMENTS}, "no place for documents"),
        ({"tools": "weather"}, "tools must be a list of objects"),
        ({"documents": [1]}, "documents must be a list of objects"),
        ({"bos_token": "x"}, "bos_token cannot be given"),
    ],
)
def test_what_the_template_cannot_take_is_refused(given, says):
    with pytest.raises(ChatTemplateError, match=says):
        ChatTemplate("{{ messages[0].content }}", {}).render([HI], add_generation_prompt=True, extra=given)


FOREVER = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "loops that write": "{% for i in range(100000) %}{% for j in range(100000) %}{{ '' }}{% endfor %}{% endfor %}",
    "calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a loop within itself": "{% for m in messages * 9 recursive %}{{ loop(messages * 9) }}{% endfor %}",
}
TOO_LARGE = {
    "100 MB": "{% for i in range(100000) %}" + "x" * 1000 + "{% endfor %}",
    "100 MB in a variable": "{% set x %}{% for i in range(100000) %}" + "x" * 1000 + "{% endfor %}{% endset %}",
    "doubled by +": "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubled by ~": "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubled by blocks": "{% set a = 'xx' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
    "doubled lists": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "multiplied": "{{ 'x' * 10000000000 }}",
    "a multiplied list": "{{ [1] * 10000000000 }}",
    "powers": "{{ 9 ** (9 ** 9) }}",
    "squares": "{% set ns = namespace(x=9) %}{% for i in range(90) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "padding": "{{ 'x'.ljust(10000000000) }}",
    "centred": "{{ 'x'|center(10000000000) }}",
    "indented": "{{ 'x\ny'|indent(10000000000) }}",
    "a format": "{{ '{:10000000000}'.format(1) }}",
    "a format of its arguments": "{{ '{:{}}'.format(1, 10000000000) }}",
    "a percent format": "{{ '%10000000000d' % 1 }}",
    "the format filter": "{{ '%*d'|format(10000000000, 1) }}",
}


@pytest.mark.parametrize("source", FOREVER.values(), ids=FOREVER)
def test_a_template_that_does_not_end_is_ended(source):
    with pytest.raises((OutOfTimeError, ChatTemplateError), match=r"more than|recursion"):
        ChatTemplate(source, {}).render([HI], add_generation_prompt=True, extra={}, seconds=0.1)


@pytest.mark.parametrize("source", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_template_that_grows_without_end_is_refused(source):
    with pytest.raises(ChatTemplateError, match=r"too large|more than|a text of|a format"):
        ChatTemplate(source, {}).render([HI], add_generation_prompt=True, extra={}, seconds=60)


@pytest.mark.parametrize("source", [FOREVER["nested loops"], TOO_LARGE["100 MB"]], ids=["endless", "100 MB"])
def test_the_client_gets_an_error_and_the_event_loop_continues(tmp_path, source, monkeypatch):
    """What does not end at once is rendered in a thread: the loop answers others meanwhile."""
    threads, answered = set(), []
    whole = ChatTemplate.render

    def watched(self, *args, seconds, **named):
        threads.add((threading.current_thread().name.split("_")[0], seconds > 1))
        return whole(self, *args, seconds=seconds, **named)

    monkeypatch.setattr(ChatTemplate, "render", watched)
    with running_server(write_checkpoint(tmp_path / "tiny", template=source)) as server:
        asking = threading.Thread(
            target=lambda: answered.append(
                httpx.post(f"{server.url}/v1/chat/completions", json={"messages": [HI]}, timeout=60)
            )
        )
        asking.start()
        health = 0
        while asking.is_alive():
            assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
            health += 1
        asking.join()
    (refused,) = answered
    assert refused.status_code == 400
    assert "takes more than 2 s" in refused.text or "writes more than" in refused.text
    if source in FOREVER.values():
        assert ("off-loop", True) in threads
        assert health > 2


def test_tools_and_documents_reach_the_prompt(tmp_path):
    folder = write_checkpoint(tmp_path / "tiny", template=QWEN)
    call = {**CALL, "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
    messages = [HI, {"role": "assistant", "content": None, "tool_calls": [call]}, CALLED[2]]
    with running_server(folder) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        seen = []
        encode = server.model.encode
        server.model.encode = lambda texts, **named: seen.extend(texts) or encode(texts, **named)
        asked = {"messages": messages, "tools": [TOOL], "max_tokens": 1}
        assert client.post("/v1/chat/completions", json=asked).status_code == 200
        for wrong, says in (
            ({"documents": DOCUMENTS}, "no place for documents"),
            (
                {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
                "JSON",
            ),
        ):
            refused = client.post("/v1/chat/completions", json={**asked, **wrong})
            assert refused.status_code == 400
            assert says in refused.json()["error"]["message"]
    (text,) = seen
    assert text == find_template(folder).render(CALLED, add_generation_prompt=True, extra={"tools": [TOOL]})
