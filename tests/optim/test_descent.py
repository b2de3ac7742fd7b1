"""Every rule descends: closed forms of its first step, valleys and quadratics."""

import numpy as np
import pytest
from harness import in_a_library, step

import fastreg
from fastreg import SGD, Adam, Lion, Momentum, optim

RULES = optim.__all__


def test_closed_forms_of_the_first_step():
    theta, g = np.array([2.0, -3.0, 0.5]), np.array([0.3, -0.2, 4.0])
    lr, unit = 0.1, g / (np.abs(g) + 1e-6)
    expected = {
        "SGD": theta - lr * g,
        "Momentum": theta - lr * g,
        "AdaGrad": theta - lr * g / np.sqrt(g * g + 1e-8),
        "RMSprop": theta - lr * g / np.sqrt(0.1 * g * g + 1e-8),
        "Adam": theta - lr * g / (np.abs(g) + 1e-8),
        "AdamW": theta * (1 - lr * 0.01) - lr * g / (np.abs(g) + 1e-8),
        "RAdam": theta - lr * g,
        "Adamax": theta - lr * g / (np.abs(g) + 1e-8),
        "Adadelta": theta - lr * np.sqrt(1e-6 / (0.1 * g * g + 1e-6)) * g,
        "Lion": theta - lr * np.sign(g),
        "Yogi": theta - lr * g / (np.sqrt((1e-6 + 1e-3 * g * g) / 1e-3) + 1e-3),
        "LAMB": theta - lr * np.linalg.norm(theta) / np.linalg.norm(unit) * unit,
        "LARS": theta - lr * 1e-3 * np.linalg.norm(theta) / np.linalg.norm(g) * g,
        "ScheduleFreeAdamW": theta - lr * g / (np.abs(g) + 1e-8),
        "Adan": theta - lr * g / (np.abs(g) + 1e-8),
    }
    mu = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (1, 2)]
    nesterov = (1 - mu[0]) * g / (1 - mu[0]) + mu[1] * 0.1 * g / (1 - mu[0] * mu[1])
    expected["NAdam"] = theta - lr * nesterov / (np.abs(g) + 1e-8)
    assert set(expected) >= {rule for rule in RULES if in_a_library(rule)}
    for rule, wanted in expected.items():
        found = step(getattr(optim, rule)(lr), theta, g)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=rule)


@pytest.mark.parametrize("rule", ["Adam", "RMSprop", "AdaGrad", "NAdam", "Adamax", "Adadelta"])
def test_gradients_below_epsilon_make_small_steps(rule):
    """Where epsilon dominates, the step is proportional to the gradient."""
    optimizer = getattr(optim, rule)
    moves = [step(optimizer(0.1, epsilon=0.01), [0.0], [g])[0] for g in (1e-9, 2e-9)]
    assert moves[1] / moves[0] == pytest.approx(2, rel=1e-4)
    assert 0 < abs(moves[0]) < 1e-6


RATES = {
    "SGD": 0.002,
    "Momentum": 0.0005,
    "AdaGrad": 0.5,
    "RMSprop": 0.003,
    "RAdam": 0.01,
    "Adadelta": 1.0,
    "Lion": 0.001,
    "LARS": 1.0,
    "LAMB": 0.01,
}
#: Where a rule must arrive that does not get below 0.01. Here x and y are tensors of their own, and
#: what moves by a share of its size does not pass 0.
LEAST = {"Adadelta": 1.0, "LAMB": 1.1, "LARS": 1.1}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_descends_rosenbrock_s_valley(rule):
    rates = (RATES.get(rule, 0.02), *(() if in_a_library(rule) else (0.1, 0.005, 0.001)))
    rules = {rate: getattr(optim, rule)(rate) for rate in rates}
    for path in fastreg.compare_optimizers(optimizers=rules, steps=8000, verbose=False).values():
        *_, (x, y, loss) = path
        assert loss == (1 - x) ** 2 + 100 * (y - x * x) ** 2  # 4 at the start
        if loss < LEAST.get(rule, 0.01):
            return
    pytest.fail(f"{rule} ends at {loss} or higher")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_solves_an_ill_conditioned_quadratic(rule):
    scale = np.array([1.0, 100.0])
    optimizer, params = getattr(optim, rule)(RATES.get(rule, 0.02)), {"w": np.array([1.0, 1.0])}
    start = float((scale * params["w"] ** 2).sum())
    for _ in range(5000):
        optimizer.update(params, {"w": 2 * scale * params["w"]})
    assert float((scale * params["w"] ** 2).sum()) < 1e-2 * start


def test_compare_optimizers_prints_and_returns(capsys):
    histories = fastreg.compare_optimizers()
    assert list(histories) == ["SGD", "Momentum", "Adam"]
    assert capsys.readouterr().out.splitlines() == [
        "SGD: Final (x, y) = (-0.9126, 0.8410), loss = 3.664694",
        "Momentum: Final (x, y) = (0.3599, 0.1265), loss = 0.410654",
        "Adam: Final (x, y) = (0.9987, 0.9975), loss = 0.000002",
    ]
    for path in histories.values():
        assert type(path) is list
        assert len(path) == 1001
        assert path[0] == (-1.0, 1.0, 4.0)
        assert {tuple(map(type, point)) for point in path} == {(float, float, float)}
    chosen = {"fast": Adam(0.1)}
    path = fastreg.compare_optimizers(optimizers=chosen, start=(2, 1), steps=2, verbose=False)
    assert capsys.readouterr().out == ""
    assert [len(points) for points in path.values()] == [3]
    assert path["fast"][0] == (2.0, 1.0, 901.0)
    for arguments, error in (
        ({"steps": -1}, ValueError),
        ({"start": (1.0, 2.0, 3.0)}, ValueError),
        ({"start": 1.0}, TypeError),
        ({"optimizers": [SGD()]}, TypeError),
        ({"optimizers": {"a": 3}}, TypeError),
        ({"verbose": "no"}, TypeError),
    ):
        with pytest.raises(error, match="compare_optimizers"):
            fastreg.compare_optimizers(**arguments)
    assert capsys.readouterr().out == ""


def test_mixed_rules_share_nothing():
    """Two optimizers on two halves of one buffer do not disturb each other."""
    buffer = np.zeros(10)
    Lion(1.0).update({"w": buffer[:5]}, {"w": np.ones(5)})
    Momentum(2.0).update({"w": buffer[5:]}, {"w": np.ones(5)})
    np.testing.assert_array_equal(buffer, [-1.0] * 5 + [-2.0] * 5)
