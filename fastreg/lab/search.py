"""A small search for each candidate's learning rate: by Optuna where it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

from fastreg.lab.fits import Outcomes, grid

__all__ = ["METHODS", "search"]

METHODS = {"grid": "a fixed grid", "optuna": "Optuna (TPE)"}


def search(attempt: Any, names: Any, rates: Any, *, common: Any, method: Any = None) -> Any:
    """Try as many rates for each name as the grid has; return their outcomes and the method.

    Parameters
    ----------
    attempt : callable
        ``attempt(settings) -> Outcomes``: fits each of the settings, dicts of ``name`` and
        ``rate``, with all seeds. The mean last value of the curve ``val_loss`` is what counts.
    names, rates : sequence
        The candidates and the grid, in increasing order; Optuna searches between its ends.
    common : float
        A rate of the grid, which Optuna is made to try first: the one that compares candidates.
    method : {"grid", "optuna"}, keyword-only
        Left out, Optuna if it is installed.
    """
    method = method or ("optuna" if importlib.util.find_spec("optuna") else "grid")
    if method == "grid":
        return attempt(grid(name=list(names), rate=list(rates))), method
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    span: dict[str, Any] = {
        "rate": optuna.distributions.FloatDistribution(rates[0], rates[-1], log=True)
    }
    studies = {}
    for name in names:  # seeded alike: the first draws are the same for all
        sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=4)
        studies[name] = optuna.create_study(sampler=sampler)
        studies[name].enqueue_trial({"rate": common})
    outcomes = Outcomes()
    for _ in rates:
        trials = {name: study.ask(span) for name, study in studies.items()}
        found = attempt([{"name": name, **trial.params} for name, trial in trials.items()])
        for name, trial in trials.items():
            studies[name].tell(trial, found.values("val_loss", name=name)[-1].mean())
        outcomes += found
    return outcomes, method
