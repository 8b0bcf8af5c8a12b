"""The line through trials of unlike shapes: simulated trials with known joules a token, and a run of known truths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from reports.energy_model import EnergyModel, Spent, fit_energy_model

TRUTH = np.array([0.02, 0.9, 4.0])  # joules a prompt token, an output token, a request
SHAPES = tuple(itertools.product((64, 1024), (32, 512)))


def simulated(seed: int, noise: float = 0.02, shapes=SHAPES, blocks: int = 5, bend: float = 0.0) -> list[Spent]:
    """`bend`: joules an output token and token of context, which the line does not know."""
    random = np.random.default_rng(seed)
    trials = []
    for block, (prompt, output) in itertools.product(range(blocks), shapes):
        requests = int(random.integers(80, 120))
        per_request = TRUTH @ [prompt, output, 1] + bend * output * (prompt + output / 2)
        joules = requests * per_request * (1 + noise * random.normal())
        trials.append(Spent(f"{prompt}-{output}", block, joules, requests * prompt, requests * output, requests))
    return trials


def coefficients(model: EnergyModel):
    return [model.prompt_token, model.output_token, model.request]


def test_without_noise_the_joules_of_each_kind_are_found_exactly():
    model = fit_energy_model("width-512", "8 in flight", simulated(0, noise=0.0))
    assert [c.joules for c in coefficients(model)] == pytest.approx(TRUTH)
    assert model.relative_deviation == pytest.approx(0, abs=1e-9)
    assert (model.trials, model.shapes, model.degrees_of_freedom) == (20, 4, 17)


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    inside = np.zeros(3)
    predicted = 0
    for seed in range(300):
        model = fit_energy_model("w", "l", simulated(seed))
        inside += [c.low <= truth <= c.high for c, truth in zip(coefficients(model), TRUTH, strict=True)]
        found = model.predict(256, 128)
        another = float(TRUTH @ [256, 128, 1]) * (1 + 0.02 * np.random.default_rng(10_000 + seed).normal())
        predicted += found.low <= another <= found.high
    assert (inside / 300 >= 0.92).all()
    assert (inside / 300 <= 0.98).all()
    assert 0.92 <= predicted / 300 <= 0.98


def test_a_line_is_not_found_wanting_where_it_holds():
    assert sum(fit_energy_model("w", "l", simulated(s)).misfit_p < 0.01 for s in range(300)) <= 10


def test_what_a_line_does_not_know_is_shown_by_the_lack_of_fit():
    assert fit_energy_model("w", "l", simulated(1, bend=0.001)).misfit_p < 0.001


def test_each_trial_has_its_residual():
    trials = simulated(2)
    model = fit_energy_model("w", "l", trials)
    assert len(model.residuals) == len(trials)
    for trial, residual in zip(trials, model.residuals, strict=True):
        assert (residual.shape, residual.block) == (trial.shape, trial.block)
        assert residual.share == pytest.approx(trial.joules / residual.fitted_joules - 1)
    assert np.std([r.share for r in model.residuals]) == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((64, 32),), "1 shape of requests"),
        (((64, 32), (64, 512)), "2 shapes"),
        (((64, 32), (64, 128), (64, 512)), "prompt lengths do not vary: 64 to 64 tokens"),
        (((64, 32), (256, 32), (1024, 40)), "output lengths do not vary: 32 to 40 tokens"),
        (((64, 32), (256, 128), (1024, 512)), "vary together"),
    ],
)
def test_shapes_that_cannot_tell_prefill_from_decoding_are_refused_with_the_reason(shapes, words):
    model = fit_energy_model("w", "l", simulated(3, shapes=shapes))
    assert words in model.reason
    assert coefficients(model) == [None, None, None]
    with pytest.raises(ValueError, match=words.split(":")[0]):
        model.predict(100, 100)


def test_three_trials_are_too_few():
    shapes = ((64, 32), (1024, 32), (64, 512))
    assert "four are the least" in fit_energy_model("w", "l", simulated(3, shapes=shapes, blocks=1)).reason


def test_a_prediction_says_when_it_leaves_what_was_measured():
    model = fit_energy_model("w", "l", simulated(4))
    inside, outside = model.predict(256, 128), model.predict(8000, 128)
    assert (inside.extrapolated, outside.extrapolated) == (False, True)
    assert inside.joules_per_output_token == pytest.approx(inside.joules_per_request / 128)
    assert outside.high - outside.low > inside.high - inside.low


def test_twice_the_joules_are_twice_each_coefficient():
    trials = simulated(5)
    once = fit_energy_model("w", "l", trials)
    twice = fit_energy_model("w", "l", [Spent(**{**vars(t), "joules": 2 * t.joules}) for t in trials])
    assert [c.joules for c in coefficients(twice)] == pytest.approx([2 * c.joules for c in coefficients(once)])
    assert [c.high for c in coefficients(twice)] == pytest.approx([2 * c.high for c in coefficients(once)])
