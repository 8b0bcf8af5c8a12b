"""The line through trials of unlike shapes: simulated trials with known joules a token, and a run of known truths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from reports.analysis.energy.fit import Spent, fit_energy_model
from reports.analysis.energy.model import EnergyModel

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


def test_the_lack_of_fit_test_accepts_a_true_line():
    assert sum(fit_energy_model("w", "l", simulated(s)).misfit_p < 0.01 for s in range(300)) <= 10


def test_the_lack_of_fit_test_rejects_a_curve():
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
    ("shapes", "words", "identified"),
    [
        (((64, 32), (64, 512)), "prompt lengths do not vary: 64 to 64 tokens", {"output_token"}),
        (((64, 32), (64, 128), (64, 512)), "prompt lengths do not vary: 64 to 64 tokens", {"output_token"}),
        (((64, 32), (256, 32), (1024, 34)), "output lengths do not vary: 32 to 34 tokens", {"prompt_token"}),
        (((64, 32), (256, 128), (1024, 512)), "vary together", {"request"}),
    ],
)
def test_a_coefficient_that_the_shapes_do_not_identify_is_withheld_with_the_reason(shapes, words, identified):
    model = fit_energy_model("w", "l", simulated(3, shapes=shapes))
    assert {name for name in ("prompt_token", "output_token", "request") if getattr(model, name)} == identified
    assert len(model.not_identified) == 3 - len(identified)
    assert all(words in why for why in model.not_identified.values())
    assert (model.reason is None) == bool(identified)
    with pytest.raises(ValueError, match=words.split(":")[0]):
        model.predict(100, 100)


def test_one_shape_identifies_nothing():
    model = fit_energy_model("w", "l", simulated(3, shapes=((64, 32),)))
    assert model.reason == "not identified (1 shape of requests under this load)"
    with pytest.raises(ValueError, match="1 shape"):
        model.predict(100, 100)


def test_identified_coefficients_are_right_if_others_are_not_identified():
    model = fit_energy_model("w", "l", simulated(3, noise=0.0, shapes=((64, 32), (64, 128), (64, 512))))
    assert model.output_token.joules == pytest.approx(TRUTH[1])


def test_variation_of_a_windows_counts_does_not_identify_a_coefficient():
    """Three workloads of the same requests, whose windows held different numbers of prompts for as many ends."""
    trials = [
        Spent(f"phase-{n}", block, joules=500.0 + n, prompt_tokens=6400 * (0.7 + 0.3 * n), output_tokens=3200 + 300 * block,
              requests=100, lengths=(64.0, 32.0))
        for n, block in itertools.product(range(3), range(4))
    ]  # fmt: skip
    model = fit_energy_model("w", "8 in flight", trials)
    assert coefficients(model) == [None, None, None]
    assert "prompt lengths do not vary" in model.reason


@pytest.mark.parametrize(
    ("shapes", "bend", "words"),
    [
        (SHAPES, 0.001, "a line does not fit"),
        (SHAPES, 0.0, "no lack of fit seen"),
        (SHAPES[:3], 0.001, "not tested"),
    ],
)
def test_the_lack_of_fit_test_is_reported_in_words(shapes, bend, words):
    model = fit_energy_model("w", "l", simulated(1, shapes=shapes, bend=bend))
    assert model.fit.startswith(words)
    assert model.is_bent == (words == "a line does not fit")


def test_three_trials_are_too_few():
    shapes = ((64, 32), (1024, 32), (64, 512))
    assert "four are the least" in fit_energy_model("w", "l", simulated(3, shapes=shapes, blocks=1)).reason


def test_a_prediction_outside_the_measured_lengths_is_marked_as_extrapolated():
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
