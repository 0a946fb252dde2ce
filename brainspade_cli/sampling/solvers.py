"""Which sampler draws the labels of a plan, and in how many evaluations: known once the weights are open."""

from __future__ import annotations

from dataclasses import replace

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import Solver
from brainspade_cli.diffusion import GENERAL, sampler_named, samplers, step_count
from brainspade_cli.errors import InputError
from brainspade_cli.sampling.plan import AUTO, FITTED, PairPlan


def resolved(plan: PairPlan, bundle: Bundle) -> PairPlan:
    """The plan with its sampler named and its steps counted; the same plan where they are.

    Raises InputError for a sampler that there is not, for steps or guidance that the fitted one does not take, and for
    more steps than the weights' schedule has.
    """
    solver = bundle.config.solvers.get(plan.population)
    if plan.sampler == AUTO:
        fits = solver is not None and plan.steps in (None, solver.steps) and plan.guidance == 1
        plan = replace(plan, sampler=FITTED if fits else GENERAL)
    if plan.sampler == FITTED:
        if solver is None:
            raise InputError(
                f"The weights {bundle.source} have no sampler fitted to their denoiser for {plan.population} labels; "
                f"leave --sampler out, or choose one of {', '.join(samplers())}."
            )
        if plan.steps not in (None, solver.steps):
            raise InputError(
                f"The sampler fitted to {bundle.source} takes {solver.steps} steps, not {plan.steps}; leave --steps or "
                "--sampler out."
            )
        if plan.guidance != 1:
            raise InputError(
                f"The sampler fitted to {bundle.source} knows no guidance; leave --guidance or --sampler out."
            )
        return replace(plan, steps=solver.steps)
    if plan.sampler not in samplers():
        raise InputError(
            f"There is no sampler '{plan.sampler}'; choose one of {AUTO}, {FITTED}, {', '.join(samplers())}."
        )
    return replace(plan, steps=step_count(plan.sampler, plan.steps, bundle.config.networks.schedule.steps))


def few_steps(asked: PairPlan, plan: PairPlan) -> str | None:
    """What to say where a plan `asked`, resolved to `plan`, leaves a general sampler too few steps; None elsewhere."""
    if asked.sampler != AUTO or plan.sampler != GENERAL or plan.steps is None:
        return None
    usual = sampler_named(GENERAL).default_steps
    if plan.steps >= usual:
        return None
    return (
        f"In {plan.steps} steps the sampler {GENERAL}, which these settings take, draws cruder labels than in {usual}; "
        f"ask for --steps {usual} or more."
    )


def solver_of(plan: PairPlan, bundle: Bundle) -> Solver | None:
    """The fitted sampler of a resolved plan; None where it names another."""
    return bundle.config.solvers[plan.population] if plan.sampler == FITTED else None
