"""Weights that torchao and bitsandbytes quantize as they are loaded, on a CPU."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from server.engines.base import EngineError
from server.engines.transformers.options import TransformersOptions
from server.engines.transformers.quantization import loading_arguments, resolved
from tests.server.engines.tiny_model import prompts, reference_logprobs, reference_model, save_model, tiny_llama_config
from tests.server.engines.transformers.test_engine import collect, serve

METHODS = ["torchao-int8", "torchao-int8-dynamic", "bitsandbytes-int8", "bitsandbytes-nf4"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_llama_config(hidden_size=128, intermediate_size=192)
    return save_model(tmp_path_factory.mktemp("llama"), config)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_it_serves_what_transformers_itself_computes_and_says_how_weights_are_held(llama, method):
    package = method.partition("-")[0]
    if not find_spec(package):
        pytest.skip(f"{package} is not installed: pip install 'prunebench[quantization]'")
    (prompt,) = prompts(1, 12)

    async def use(engine):
        return await collect(engine, "a", prompt, max_tokens=6, logprobs=1), engine.info

    (tokens, logprobs, _), info = serve(llama, use, dtype="float32", quantization=method)
    assert info.options["quantization"] == method
    quantized = reference_model(llama, **loading_arguments(method, "cpu", {}))
    ours = [one.logprob for one in logprobs]
    theirs, plain = (
        [float(row[token]) for row, token in zip(rows[len(prompt) - 1 : -1], tokens, strict=True)]
        for rows in (reference_logprobs(model, prompt + tokens) for model in (quantized, reference_model(llama)))
    )
    assert ours == pytest.approx(theirs, abs=0.1)  # activations are rounded, and not by the same rows
    assert ours != pytest.approx(plain, abs=1e-4)


def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr("server.engines.transformers.options.find_spec", lambda _name: None)
    said = r"quantization=torchao-int8: torchao is not installed; pip install 'prunebench\[quantization\]'"
    with pytest.raises(EngineError, match=said):
        TransformersOptions(quantization="torchao-int8").check()
    TransformersOptions().check()


def test_a_checkpoint_that_is_quantized_already_is_not_quantized_again():
    config = {"quantization_config": {"quant_method": "compressed-tensors"}}
    with pytest.raises(EngineError, match="the checkpoint is quantized already"):
        loading_arguments("torchao-int8", "cpu", config)
    assert resolved("none", config) == "compressed-tensors"
    assert (resolved("none", {}), loading_arguments("none", "cpu", {})) == ("None", {})
