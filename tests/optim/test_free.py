"""Schedule-free AdamW: the sequences of the paper, and the exchange with the average."""

import harness
import numpy as np
import pytest

from fastreg import ScheduleFreeAdamW
from fastreg.nn import mlp, mse


def by_hand(theta, grads, *, rate, warmup, decay, begins=0):
    """Algorithm 1 of the paper with bias correction, as its authors' package computes it."""
    z, x, y, v, total = theta, theta, theta, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        gamma = rate * min(1.0, (t - begins) / warmup) if warmup else rate
        v = 0.999 * v + 0.001 * g * g
        z = z - gamma * (g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * y)
        weight = min(1.0, t / warmup) ** 2 if warmup else 1.0
        total += weight
        x = (1 - weight / total) * x + weight / total * z
        y = 0.1 * z + 0.9 * x
    return x, y, z


@pytest.mark.parametrize("compat", [None, "optax"])
@pytest.mark.parametrize("warmup", [0, 1, 2, 7, 200])
def test_the_three_sequences_are_those_of_the_paper(warmup, compat, fixed_rng):
    """Optax's warm-up is a step late."""
    start, grads = fixed_rng.normal(size=300), fixed_rng.normal(size=(20, 300))
    params = {"w": start.copy()}
    optimizer = ScheduleFreeAdamW(0.05, warmup_steps=warmup, weight_decay=0.1, compat=compat)
    for g in grads:
        optimizer.update(params, {"w": g})
    begins = int(compat == "optax")
    wanted = by_hand(start, grads, rate=0.05, warmup=warmup, decay=0.1, begins=begins)
    found = optimizer.x["w"], params["w"], optimizer.z["w"]
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)


def test_swapping_there_and_back_changes_no_bit(dtype, rng):
    params, optimizer = {"w": rng.normal(size=20_000).astype(dtype)}, ScheduleFreeAdamW(0.1)
    for _ in range(3):
        optimizer.update(params, {"w": rng.normal(size=20_000).astype(dtype)})
    before, x = params["w"].copy(), optimizer.x["w"].copy()
    optimizer.swap_ema()
    harness.same_bits(params["w"], x)
    with pytest.raises(RuntimeError, match="changed places"):
        optimizer.update(params, {"w": before})
    optimizer.swap_ema()
    harness.same_bits(params["w"], before)


def test_parameters_that_join_late_begin_their_own_warm_up():
    optimizer, params = ScheduleFreeAdamW(0.1, warmup_steps=4), {"a": np.ones(2)}
    for _ in range(3):
        optimizer.update(params, {name: np.ones(2) for name in params})
    params["b"] = np.ones(2)
    optimizer.update(params, {name: np.ones(2) for name in params})
    np.testing.assert_allclose(optimizer.z["b"], 1 - 0.1 / 4)
    harness.same_bits(optimizer.z["b"], optimizer.x["b"])


def test_ema_decay_makes_the_average_an_exponential_one():
    params, optimizer = {"w": np.ones(2)}, ScheduleFreeAdamW(0.1, 0.75, ema_decay=0.5)
    x = np.ones(2)
    for _ in range(3):
        optimizer.update(params, {"w": np.ones(2)})
        x = 0.5 * x + 0.5 * optimizer.z["w"]
        np.testing.assert_allclose(optimizer.x["w"], x, rtol=1e-15)
        np.testing.assert_allclose(params["w"], 0.25 * optimizer.z["w"] + 0.75 * x, rtol=1e-15)


def test_it_needs_no_schedule(fixed_rng):
    """On noisy least squares the average is nearer to the solution than the last iterate."""
    A = fixed_rng.normal(size=(2000, 10))
    truth = fixed_rng.normal(size=10)
    b = A @ truth + fixed_rng.normal(size=2000)
    params, optimizer = {"w": np.zeros(10)}, ScheduleFreeAdamW(0.05)
    for _ in range(3000):
        rows = fixed_rng.integers(0, 2000, 8)
        optimizer.update(params, {"w": A[rows].T @ (A[rows] @ params["w"] - b[rows]) / 8})
    best = np.linalg.lstsq(A, b, rcond=None)[0]
    away = {name: np.linalg.norm(w - best) for name, w in (("x", optimizer.x["w"]),
                                                           ("z", optimizer.z["w"]))}  # fmt: skip
    assert away["x"] < 0.5 * away["z"]


def test_a_network_trains_and_is_evaluated_at_the_average():
    X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    model, optimizer = mlp([1, 16, 1], rng=0), ScheduleFreeAdamW(0.02)
    for _ in range(300):
        _, dY = mse(model.forward(X), X * X)
        model.backward(dY, input_gradient=False)
        optimizer.update(model.params, model.grads)
    optimizer.swap_ema()
    model.eval()
    assert mse(model.forward(X), X * X)[0] < 0.01
