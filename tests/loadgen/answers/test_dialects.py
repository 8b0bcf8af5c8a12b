"""The OpenAI API as other servers speak it. The bytes are written after each project's own documentation and source, as named
at each; vLLM, transformers and ours are run for real (`tests/vllm/`, `test_transformers_serve.py`, `test_end_to_end.py`).
"""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loadgen.answers.whole import read_answer
from tests.loadgen.scripted import event

# SGLang, docs "OpenAI APIs - Completions": role chunk first, reasoning apart from content, `matched_stop`, usage at the end.
SGLANG = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":'
    b'"assistant","content":"","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,'
    b'"matched_stop":null}],"usage":null}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,'
    b'"content":null,"reasoning_content":"Hm","tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],'
    b'"usage":null}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,'
    b'"content":"Yes","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],'
    b'"usage":null}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,'
    b'"content":null,"reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":"stop","matched_stop":2}],'
    b'"usage":null}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,'
    b'"total_tokens":8,"completion_tokens":3,"prompt_tokens_details":null}}\n\n'
    b"data: [DONE]\n\n"
)

# llama.cpp, tools/server/README.md: an empty delta at the end, `timings` beside usage.
LLAMA_CPP = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,"id":'
    b'"chatcmpl-1","model":"m","system_fingerprint":"b5000","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Ye"}}],"created":1,"id":"chatcmpl-1","model":"m",'
    b'"system_fingerprint":"b5000","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"s"}}],"created":1,"id":"chatcmpl-1","model":"m",'
    b'"system_fingerprint":"b5000","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1,"id":"chatcmpl-1","model":"m",'
    b'"system_fingerprint":"b5000","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[],"created":1,"id":"chatcmpl-1","model":"m","object":"chat.completion.chunk","usage":'
    b'{"completion_tokens":2,"prompt_tokens":5,"total_tokens":7},"timings":{"prompt_n":5,"predicted_n":2,"predicted_ms":9.5}}\n\n'
    b"data: [DONE]\n\n"
)

# Text Generation Inference, "Messages API" and its OpenAPI document: the role in every chunk, comments to keep alive.
TGI = (
    b":\n\n"
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"m","system_fingerprint":"3.0.0-sha","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"Yes"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"m","system_fingerprint":"3.0.0-sha","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"."},"logprobs":null,"finish_reason":"length"}],"usage":null}\n\n'
    b'data: {"object":"chat.completion.chunk","id":"","created":1,"model":"m","system_fingerprint":"3.0.0-sha","choices":[],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
    b"data: [DONE]\n\n"
)

# vLLM with `continuous_usage_stats` and speculative decoding: several tokens a chunk.
VLLM = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":" a b","logprobs":'
    b'null,"finish_reason":null,"stop_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}\n\n'
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":" c d e","logprobs":'
    b'null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":10,"completion_tokens":5}}\n\n'
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,'
    b'"total_tokens":10,"completion_tokens":5}}\n\n'
    b"data: [DONE]\n\n"
)

# Ollama, openai/openai.go and middleware/openai.go: the role in every chunk, a last one without text, then the usage alone.
OLLAMA = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Yes"},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"."},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"length"}]}\n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",'
    b'"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
    b"data: [DONE]\n\n"
)

# LMDeploy, lmdeploy/serve/openai/api_server.py: with `include_usage` every chunk has the running usage, and there is none at the end.
LMDEPLOY = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":"Yes","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":5,'
    b'"total_tokens":6,"completion_tokens":1}}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":", it is","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":'
    b'5,"total_tokens":9,"completion_tokens":4}}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":"","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":5,'
    b'"total_tokens":9,"completion_tokens":4}}\n\n'
    b"data: [DONE]\n\n"
)

# TensorRT-LLM, tensorrt_llm/serve/postprocess_handlers.py: a space before the end of a line, no keys that are null, a role chunk first.
TENSORRT_LLM = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":'
    b'"assistant"}}],"usage":{"prompt_tokens":5,"total_tokens":5,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":0}}} \n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":'
    b'"Yes","reasoning_content":""}}],"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}} \n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":'
    b'" it is","reasoning_content":""},"finish_reason":"length"}],"usage":{"prompt_tokens":5,"total_tokens":8,"completion_tokens":3}} \n\n'
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,'
    b'"total_tokens":8,"completion_tokens":3}} \n\n'
    b"data: [DONE]\n\n"
)

DIALECTS = {
    "sglang": (SGLANG, [1, 3], 3, "server-usage", "stop"),  # two chunks with content, three tokens by usage
    "llama.cpp": (LLAMA_CPP, [1, 2], 2, "server-usage", "stop"),
    "tgi": (TGI, [1, 2], 2, "server-usage", "length"),
    "vllm": (VLLM, [2, 5], 5, "server-continuous-usage", "length"),
    "ollama": (OLLAMA, [1, 2], 2, "server-usage", "length"),
    "lmdeploy": (LMDEPLOY, [1, 4], 4, "server-continuous-usage", "length"),
    "tensorrt-llm": (TENSORRT_LLM, [1, 3], 3, "server-continuous-usage", "length"),
}


def whole(text, cuts=()):
    """The answer that `text`, cut at these places, amounts to; reads are a millisecond apart."""
    edges = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    return read_answer([(n, text[a:b]) for n, (a, b) in enumerate(itertools.pairwise(edges), 1)])


@pytest.mark.parametrize("name", DIALECTS)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=40), newline=st.sampled_from([b"\n", b"\r\n"]))
def test_tokens_are_counted_and_timed_however_the_bytes_are_split(name, cuts, newline):
    text, tokens, total, counted_by, finish = DIALECTS[name]
    answer = whole(text.replace(b"\n", newline), cuts)
    assert (answer.error, answer.incomplete) == (None, None)
    assert len(answer.arrival_ns) == 2
    assert answer.arrival_ns == sorted(answer.arrival_ns)
    assert answer.arrival_tokens[-1] == tokens[-1]
    assert (answer.output_tokens, answer.prompt_tokens) == (total, 5)
    assert (answer.counted_by, answer.finish_reason) == (counted_by, finish)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # llama.cpp: an event named by its field, in older and newer form.
        (
            b'error: {"code":500,"message":"context shift is disabled","type":"server_error"}',
            "context shift is disabled",
        ),
        (b'data: {"error":{"code":500,"message":"no slot","type":"server_error"}}', "no slot"),
        # TGI: the error is a string beside its type.
        (
            b'data: {"error":"Request failed during generation: CUDA","error_type":"generation"}',
            "Request failed during",
        ),
        # vLLM before 0.6: the error object without a wrapper; FastChat: a code beside the text.
        (b'data: {"object":"error","message":"engine died","type":"InternalServerError","code":500}', "engine died"),
        (b'data: {"text":"out of memory","error_code":50002}', "out of memory"),
        # Named by the event's field, as the HTML standard allows; FastAPI says `detail`.
        (b'event: error\ndata: {"message":"engine died","code":500}', "engine died"),
        (b'event: error\ndata: {"error":{"message":"engine died"}}', "engine died"),
        (b'event: error\ndata: {"detail":"engine died"}', "engine died"),
        (b"event: error\ndata: engine died", "engine died"),
        (b'data: {"detail":"engine died"}', "engine died"),
        (b'data: {"message":"engine died","type":"server_error","code":500}', "engine died"),
        (b'data: {"error":{}}', "without a message"),
        (b'data: {"error":{"code":7}}', "{'code': 7}"),
        # SGLang and vLLM: as OpenAI has it.
        (b'data: {"error":{"object":"error","message":"aborted","type":"BadRequestError","code":400}}', "aborted"),
    ],
)
def test_an_error_in_mid_stream_is_reported_in_the_servers_words_and_keeps_what_came_before(line, message):
    before = VLLM.split(b"\n\n")[0] + b"\n\n"
    answer = whole(before + line + b"\n\n" + b"data: [DONE]\n\n")
    assert message in answer.error
    assert answer.arrival_tokens == [2]


@pytest.mark.parametrize(
    ("finish", "done", "failed"),
    [
        ("stop", True, None),
        ("length", False, None),
        ("tool_calls", False, None),
        ("function_call", False, None),
        (None, True, None),
        ("eos_token", True, None),
        (None, False, "without [DONE]"),
        ("eos_token", False, "without [DONE]"),
        ("error", True, "finish_reason error"),
        ("content_filter", True, "content filter"),
        ("abort", True, "before it was finished"),
    ],
)
def test_an_answer_is_whole_by_its_finish_reason_or_by_done_after_tokens(finish, done, failed):
    text = event(choices=[{"index": 0, "text": " a", "finish_reason": None}])
    text += event(choices=[{"index": 0, "text": "", "finish_reason": finish}])
    answer = whole(text + b"data: [DONE]\n\n" * done)
    assert answer.error is None
    assert answer.incomplete is None if failed is None else failed in answer.incomplete


@pytest.mark.parametrize("nothing", [b"", b" ", b'{"choices":[],"error":false}', b'{"choices":[],"error":""}'])
def test_heartbeats_and_empty_errors_are_no_errors(nothing):
    parts = VLLM.split(b"\n\n", 1)
    answer = whole(b"\n\n".join([parts[0], b"data:" + nothing, parts[1]]))
    assert (answer.error, answer.incomplete, answer.output_tokens) == (None, None, 5)


@given(cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_a_byte_order_mark_and_a_space_after_done_are_passed_over(cuts):
    answer = whole(b"\xef\xbb\xbf" + VLLM.replace(b"[DONE]", b"[DONE] "), cuts)
    assert (answer.error, answer.incomplete, answer.arrival_tokens) == (None, None, [2, 5])


@pytest.mark.parametrize(
    ("written", "counted_by", "total"),
    [
        (b'"5"', "server-usage", 5),
        (b"5.0", "server-usage", 5),
        (b"NaN", "chunks", 2),
        (b"-1", "chunks", 2),
        (b"true", "chunks", 2),
    ],
)
def test_a_count_that_can_be_read_is_one_and_any_other_is_none(written, counted_by, total):
    text = TGI.replace(b'"completion_tokens":2', b'"completion_tokens":' + written)
    answer = whole(text)
    assert (answer.error, answer.incomplete) == (None, None)
    assert (answer.counted_by, answer.output_tokens) == (counted_by, total)


def test_a_tool_call_is_an_answer():
    call = {"index": 0, "function": {"name": "look_up", "arguments": "{}"}}
    text = event(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}])
    answer = whole(text)
    assert (answer.error, answer.incomplete, answer.arrival_tokens) == (None, None, [1])


def completion(**more):
    choice = {"index": 0, "text": " a b c", "finish_reason": "length"}
    return json.dumps({"object": "text_completion", "choices": [choice], **more}, indent=1).encode()


@given(cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_an_answer_that_was_not_streamed_comes_whole_at_its_end(cuts):
    body = completion(usage={"prompt_tokens": 5, "completion_tokens": 3})
    answer = whole(body, cuts)
    assert (answer.error, answer.incomplete, answer.arrival_tokens) == (None, None, [3])
    assert answer.arrival_ns == [len({0, len(body), *(cut % len(body) for cut in cuts)}) - 1]
    assert (answer.prompt_tokens, answer.counted_by) == (5, "server-usage")


def test_a_chat_message_that_was_not_streamed_counts_too():
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}
    answer = whole(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}).encode())
    assert (answer.arrival_tokens, answer.finish_reason, answer.error) == ([2], "stop", None)


@pytest.mark.parametrize("body", [b"{", b'{"choices": []}', b'{"error": {"message": "no"}}'])
def test_an_object_that_is_no_completion_is_an_error(body):
    assert whole(body).error
