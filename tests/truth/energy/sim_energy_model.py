"""The energy model, fitted to trials of different shapes. The true cost of a token is given in closed form or by a server's steps."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np

from reports.analysis.energy.fit import NAMES, Spent, fit_energy_model
from tests.truth.registry import Outcome, Row, covers, simulation
from tests.truth.servers.batching import Engine, Log, serve

_NOISE = "4 to 6 shapes at random, 3 to 5 blocks, 1 to 3 % noise a trial"
_LOOPS = "closed loops of one prompt length or one length in all, in lockstep or not, windows cut at random phases"
_TWO_LENGTHS = f"{_LOOPS}; two output lengths"


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _joules(rng: np.random.Generator) -> np.ndarray:
    """Joules of a prompt token, an output token and a request."""
    return np.array([_between(rng, 0.005, 0.1), _between(rng, 0.2, 2.0), _between(rng, 0.5, 20.0)])


def _trials(
    rng: np.random.Generator, truth: np.ndarray, shapes: list[tuple[int, int]], noise: float, bend: float = 0.0
) -> list[Spent]:
    """`bend`: joules per output token and per token of its context, as attention costs them."""
    spent = []
    for block, (prompt, output) in itertools.product(range(int(rng.integers(3, 6))), shapes):
        requests = int(rng.integers(80, 120))
        own = truth @ [prompt, output, 1] + bend * output * (prompt + (output - 1) / 2)
        joules = requests * own * (1 + noise * rng.normal())
        spent.append(Spent(f"{prompt}-{output}", block, joules, requests * prompt, requests * output, requests))
    return spent


def _crossed(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Two prompt lengths by two output lengths, as in experiments/energy-model.toml, and up to two shapes between."""
    prompt, output = _between(rng, 32, 256), _between(rng, 16, 128)
    wide = [(prompt, prompt * _between(rng, 3, 12)), (output, output * _between(rng, 3, 12))]
    more = [tuple(_between(rng, *side) for side in wide) for _ in range(int(rng.integers(0, 3)))]
    return [(round(p), round(o)) for p, o in [*itertools.product(*wide), *more]]


_COEFFICIENT = "energy model: joules a prompt token, an output token, a request"
_AN_OUTPUT_TOKEN = "energy model: joules an output token"
_BENT = "energy model: lack of fit, where attention makes tokens dearer"


@simulation(
    short=60,
    long=3000,
    prompt_token=covers(f"{_COEFFICIENT} (the first)", _NOISE),
    output_token=covers(f"{_COEFFICIENT} (the second)", _NOISE),
    request=covers(f"{_COEFFICIENT} (the third)", _NOISE),
    prediction=covers("energy model: J/request of a trial of another shape", f"{_NOISE}, shape within the lengths"),
    misfit=Row("energy model: lack of fit, where a line holds", _NOISE, "at most 1 %", at_most=0.015),
)
def energy_line(rng: np.random.Generator) -> Outcome:
    """A true line."""
    truth, shapes, noise = _joules(rng), _crossed(rng), rng.uniform(0.01, 0.03)
    model = fit_energy_model("w", "l", _trials(rng, truth, shapes, noise))
    found: dict[str, bool | float] = {}
    for name, joules in zip(NAMES, truth, strict=True):
        key = name.replace(" ", "_")
        coefficient = getattr(model, key)
        if coefficient is not None:
            found[key] = coefficient.low <= joules <= coefficient.high
    prompts, outputs = zip(*shapes, strict=True)
    shape = (rng.uniform(min(prompts), max(prompts)), rng.uniform(min(outputs), max(outputs)))
    predicted = model.predict(*shape)
    another = float(truth @ [*shape, 1.0]) * (1 + noise * rng.normal())
    found["prediction"] = predicted.low <= another <= predicted.high
    if model.misfit_p is not None:
        found["misfit"] = model.is_bent
    return found


@simulation(
    short=60,
    long=3000,
    strong=Row(
        _BENT,
        f"{_NOISE}; an output token at the longest context costs 1.5 times its price at none",
        "found in 80 %",
        0.80,
    ),
    weak=Row(_BENT, f"{_NOISE}; 1.1 times its price", "found in 25 %", 0.25),
)
def energy_line_bent(rng: np.random.Generator) -> Outcome:
    """Attention makes the cost grow with the context."""
    truth, shapes, noise = _joules(rng), _crossed(rng), rng.uniform(0.01, 0.03)
    longest = max(prompt + output for prompt, output in shapes)
    return {
        name: fit_energy_model("w", "l", _trials(rng, truth, shapes, noise, share * truth[1] / longest)).is_bent
        for name, share in (("strong", 0.5), ("weak", 0.1))
    }


def _about(rng: np.random.Generator, prompt: int, output: int, spread: int) -> tuple[int, int]:
    near, far = rng.integers(-spread // 3, spread // 3 + 1), rng.integers(-spread, spread + 1)
    return prompt + int(near), output + int(far)


def _window(rng: np.random.Generator, log: Log, shape: str, block: int) -> Spent:
    """The counts that a window credits: prompts by their first token, output tokens by arrival, requests by their end."""
    whole = log.step_end[-1]
    start, end = whole * rng.uniform(0.1, 0.3), whole * rng.uniform(0.6, 0.9)
    inside = [r for r in log.order if start < log.ended[r] <= end]
    tokens = 0.0
    for r in log.order:
        times = np.linspace(log.first[r], log.ended[r], log.output[r])
        tokens += ((times > start) & (times <= end)).sum()
    return Spent(
        shape=shape,
        block=block,
        joules=log.joules_between(start, end) * (1 + 0.01 * rng.normal()),
        prompt_tokens=sum(log.prompt[r] for r in log.order if start < log.first[r] <= end),
        output_tokens=tokens,
        requests=len(inside),
        lengths=(float(np.mean(log.prompt)), float(np.mean(log.output))),
    )


@simulation(
    short=20,
    long=500,
    withheld=Row("energy model: joules a prompt token and a request", _LOOPS, "not identified in 95 %", 0.95),
    kept=Row(_AN_OUTPUT_TOKEN, _TWO_LENGTHS, "given in 95 %", 0.95),
    output_token=Row(_AN_OUTPUT_TOKEN, _TWO_LENGTHS, "within 10 % of the truth in 90 %", 0.90),
)
def energy_line_not_identified(rng: np.random.Generator) -> Outcome:
    """Loops with prompts of about one length: the cost of a prompt cannot be separated from that of a request."""
    size = int(rng.choice([2, 4, 8]))
    engine = Engine(
        a=8e-3, b=1e-4, c=4e-5, budget=8192, slots=size, busy_watts=200, decode_joules=0.05, prefill_joules=0.004
    )
    prompt, lockstep, outputs = int(_between(rng, 32, 512)), rng.random() < 0.5, [32, 32]
    two = rng.random() < 0.5
    if two:
        outputs = [32, 128]
    spent = []
    for place, block in itertools.product(range(4), range(3)):
        output, spread = outputs[place % 2], 0 if lockstep else 6
        log = serve(
            engine, partial(_about, rng, prompt, output, spread), size * int(rng.integers(8, 16)), in_flight=size
        )
        spent.append(_window(rng, log, f"shape-{place}", block))
    model = fit_energy_model("w", f"{size} in flight", spent)
    found: dict[str, bool | float] = {"withheld": model.prompt_token is None and model.request is None}
    if two:
        found["kept"] = model.output_token is not None
        if model.output_token is not None:
            # A step's joules are shared by all that are in it; a request is in as many steps as it has output tokens.
            truth = 200 * (engine.a / size + engine.b) + engine.decode_joules
            found["output_token"] = abs(model.output_token.joules / truth - 1) <= 0.1
    return found
