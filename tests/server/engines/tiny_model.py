"""Tiny random models, real in every other way, made where a test needs them."""

import json

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

VOCABULARY = 256


def tiny_llama_config(**changes):
    return LlamaConfig(**(tiny_sizes() | {"head_dim": 32} | changes))


def tiny_sizes():
    """Sizes any GLU-MLP configuration class takes; weights large enough that tokens vary and ties are far away."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def save_model(folder, config, seed=0):
    """A random float32 model of a configuration, saved as safetensors. Returns the folder."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def prompts(count, longest, seed=0):
    """Random prompts of different lengths from `longest` down."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCABULARY, (longest - i,), generator=generator).tolist() for i in range(count)]


def reference_model(folder, dtype=torch.float32, **how):
    """The same checkpoint in plain transformers."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **how)


def reference_tokens(model, prompt, count):
    """What Hugging Face's own `generate` answers greedily, alone."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=0
        )
    return output[0, len(prompt) :].tolist()


def reference_logprobs(model, tokens):
    """Natural-log probabilities `[len(tokens), vocabulary]` of what follows each token."""
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].float().log_softmax(-1)
