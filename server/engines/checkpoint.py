"""What the engines read from a checkpoint's JSON files, in one place so that they cannot differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.engines.base import EngineError


def read_config(checkpoint: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder; of a model with several parts, the language model's part.

    Raises EngineError if it is missing or is not a JSON object.
    """
    config = _read_json(checkpoint / "config.json")
    if config is None:
        raise EngineError(
            f"{checkpoint}: there is no config.json; give the folder of a checkpoint in Hugging Face layout"
        )
    text_config = config.get("text_config")
    return {**config, **text_config} if isinstance(text_config, dict) else config


def end_of_sequence_ids(checkpoint: Path) -> frozenset[int]:
    """The tokens that end a sequence: `eos_token_id` of generation_config.json, else of config.json; maybe none.

    A chat model's generation_config.json lists its end-of-turn token too, which config.json often lacks.
    """
    generation = _read_json(checkpoint / "generation_config.json") or {}
    found = generation.get("eos_token_id")
    if found is None:
        found = read_config(checkpoint).get("eos_token_id")
    if found is None:
        return frozenset()
    return frozenset(found) if isinstance(found, list) else frozenset({found})


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise EngineError(f"{path}: not a JSON object")
    return content
