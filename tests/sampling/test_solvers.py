from __future__ import annotations

from dataclasses import replace

import pytest

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import Solver
from brainspade_cli.errors import InputError
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.solvers import few_steps, resolved, solver_of
from tests.sampling.parts import tiny_bundle

SOLVER = Solver((700, 300, 50), ((1.0, 0.1), (0.8, 0.9, -0.5), (0.1, 1.4, -0.8, 0.3)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def with_solver(plain: Bundle) -> Bundle:
    """Weights that have a fitted sampler for patients alone."""
    return replace(plain, config=replace(plain.config, solvers={"tumour": SOLVER}))


@pytest.mark.parametrize(
    ("plan", "sampler", "steps"),
    [
        (PairPlan(tumour=True), "fitted", 3),
        (PairPlan(tumour=True, steps=3), "fitted", 3),
        (PairPlan(tumour=True, sampler="fitted"), "fitted", 3),
        (PairPlan(tumour=True, steps=4), "unipc", 4),
        (PairPlan(tumour=True, guidance=2.0), "unipc", 6),
        (PairPlan(tumour=True, sampler="ddim"), "ddim", 80),
        (PairPlan(), "unipc", 6),
    ],
)
def test_the_fitted_sampler_is_taken_where_nothing_speaks_against_it(
    with_solver: Bundle, plan: PairPlan, sampler: str, steps: int
) -> None:
    settled = resolved(plan, with_solver)
    assert settled == replace(plan, sampler=sampler, steps=steps)
    assert resolved(settled, with_solver) == settled
    assert solver_of(settled, with_solver) == (SOLVER if sampler == "fitted" else None)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (PairPlan(tumour=True, steps=4), True),
        (PairPlan(tumour=True, steps=3, guidance=2.0), True),
        (PairPlan(tumour=True), False),
        (PairPlan(tumour=True, guidance=2.0), False),
        (PairPlan(tumour=True, steps=8), False),
        (PairPlan(tumour=True, sampler="unipc", steps=2), False),
    ],
)
def test_few_steps_of_a_general_sampler_that_nobody_named_are_told(
    with_solver: Bundle, plan: PairPlan, told: bool
) -> None:
    advice = few_steps(plan, resolved(plan, with_solver))
    assert (advice is not None) == told
    assert advice is None or f"In {plan.steps} steps the sampler unipc" in advice


def test_weights_without_one_draw_as_before(plain: Bundle) -> None:
    assert resolved(PairPlan(tumour=True), plain) == PairPlan(tumour=True, sampler="unipc", steps=6)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (PairPlan(sampler="fitted"), "no sampler fitted to their denoiser for healthy labels; leave --sampler out"),
        (PairPlan(tumour=True, sampler="fitted", steps=5), "takes 3 steps, not 5"),
        (PairPlan(tumour=True, sampler="fitted", guidance=2.0), "knows no guidance"),
        (PairPlan(sampler="euler"), "no sampler 'euler'; choose one of auto, fitted, unipc"),
        (PairPlan(steps=100_000), "takes 1 to 1000 steps, not 100000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(with_solver: Bundle, plan: PairPlan, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolved(plan, with_solver)
