"""Names that vLLM does not promise to keep: a new version that moves one fails here."""

from __future__ import annotations

import inspect
from dataclasses import fields
from operator import attrgetter

import pytest

from tests.server.test_private_names import assigned


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_vllm_has_every_name_of_its_interface():
    exceptions = pytest.importorskip("vllm.exceptions")
    from vllm.config import ModelConfig, VllmConfig, set_current_vllm_config
    from vllm.envs import environment_variables
    from vllm.inputs import tokens_input
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.sampling_params import RequestOutputKind, SamplingParams
    from vllm.v1.attention.selector import get_attn_backend
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.exceptions import EngineDeadError
    from vllm.v1.metrics.loggers import StatLoggerBase
    from vllm.v1.metrics.stats import RequestStateStats, SchedulerStats
    from vllm.v1.spec_decode.metrics import SpecDecodingStats

    from server.engines.vllm import interface
    from server.engines.vllm.resolved_options import PATHS

    assert {"from_engine_args", "generate", "abort", "errored", "shutdown"} <= set(dir(AsyncLLM))
    assert "self.vllm_config = " in inspect.getsource(AsyncLLM)
    assert tokens_input([1, 2])["prompt_token_ids"] == [1, 2]
    parameters = SamplingParams(detokenize=False, output_kind=RequestOutputKind.DELTA, prompt_logprobs=1)
    assert parameters.output_kind != RequestOutputKind.FINAL_ONLY
    assert issubclass(EngineDeadError, Exception)
    assert issubclass(exceptions.VLLMClientError, Exception)
    assert {"prompt_logprobs", "outputs", "metrics", "num_cached_tokens"} <= assigned(RequestOutput)
    assert {"token_ids", "logprobs", "finish_reason"} <= {field.name for field in fields(CompletionOutput)}
    stamps = {"queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts", "num_preemptions"}
    assert stamps <= {field.name for field in fields(RequestStateStats)}
    assert "stat_loggers" in inspect.signature(AsyncLLM.from_engine_args).parameters
    assert StatLoggerBase.__abstractmethods__ == {"__init__", "record", "log_engine_initialized"}
    assert list(inspect.signature(StatLoggerBase.record).parameters)[1] == "scheduler_stats"
    assert "spec_decoding_stats" in {field.name for field in fields(SchedulerStats)}
    assert {"num_draft_tokens", "num_accepted_tokens"} <= {field.name for field in fields(SpecDecodingStats)}
    variables = {interface.SOCKET_FOLDER, interface.CPU_CACHE_GIB, interface.LOG_LEVEL}
    assert variables <= environment_variables.keys()
    assert callable(set_current_vllm_config)
    assert callable(get_attn_backend)
    config = VllmConfig()
    for path in PATHS.values():
        if not path.startswith("model_config."):  # there is none without a model
            attrgetter(path)(config)
    assert {path.split(".")[1] for path in PATHS.values() if path.startswith("model_config.")} <= {
        field.name for field in fields(ModelConfig)
    }
