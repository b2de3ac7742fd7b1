"""Presets against what torch, Keras and Optax themselves computed (see golden/README.md)."""

import json
import pathlib

import harness
import numpy as np
import pytest

from fastreg import optim, reference

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def runs():
    for path in sorted(GOLDEN.glob("optimizers_*.json")):
        library = path.stem.split("_")[1]
        recorded = json.loads(path.read_text())
        for run in recorded["runs"]:
            yield pytest.param(library, recorded, run, id=f"{library}: {run['call']}")


RUNS = list(runs())


def replay(optimizer, recorded, run):
    """Yield (recorded, computed) parameters wherever the library's were recorded."""
    params = {"w": np.array(recorded["start"])}
    for t, gradient in enumerate(recorded["gradients"], 1):
        if t == recorded["late_from_step"] and run["late_learning_rate"] is not None:
            optimizer.lr = run["late_learning_rate"]
        optimizer.update(params, {"w": np.array(gradient)})
        if str(t) in run["params"]:
            yield np.array(run["params"][str(t)]), params["w"]


@pytest.mark.parametrize(("library", "recorded", "run"), RUNS)
def test_presets_give_the_library_s_own_numbers(library, recorded, run):
    optimizer = getattr(optim, run["optimizer"])(compat=library, **run["options"])
    compared = 0
    for theirs, ours in replay(optimizer, recorded, run):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
        compared += 1
    assert compared == 6


def test_every_rule_is_compared_with_a_library():
    compared = {run.values[2]["optimizer"] for run in RUNS}
    assert compared == {rule for rule in optim.__all__ if harness.in_a_library(rule)}


@pytest.mark.parametrize(("library", "recorded", "run"), RUNS)
def test_the_reference_has_the_presets_too(library, recorded, run):
    rule, theirs = run["optimizer"], getattr(optim, run["optimizer"])._defaults.get(library, {})
    slow = getattr(reference, rule)(compat=library, **(theirs | run["options"]))
    for wanted, found in replay(slow, recorded, run):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_the_chapter_s_form_differs_from_the_presets():
    """Epsilon's place must matter in these runs, or they would prove nothing."""
    changed = 0
    for library, recorded, run in (run.values for run in RUNS):
        plain = getattr(optim, run["optimizer"])(**run["options"])
        final = list(replay(plain, recorded, run))[-1]
        changed += not np.allclose(*final, rtol=1e-9)
        assert library in ("torch", "keras", "optax")
    assert changed > 40
