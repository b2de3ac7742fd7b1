"""Every argument of what fastreg.torch offers, in turn replaced by values of every kind.

Where torch has the same callable, the same is taken and refused, in torch's words; what is
fastreg's own is refused by a TypeError or a ValueError that names the callable and the argument.
"""

import copy
import inspect
import math
import warnings

import bad_values as values
import pytest
from bad_values import flag, listed, number, one_of

torch = pytest.importorskip("torch")
import fastreg.torch as fast  # noqa: E402
from fastreg.torch import dropout, norm, optimizers  # noqa: E402


def bad_values():
    """All but those that cannot be shown, by torch or even by Python."""
    hidden = ("10**5000", "nameless", "[nameless]")
    return {label: v for label, v in values.bad_values().items() if label not in hidden}


OWN = {
    "lambda_l1": number(0.0, none=True),
    "lambda_l2": number(0.0, none=True),
    "l1_mode": one_of("subgradient", "prox", none=True),
    "clip_value": lambda v: v is None or v is math.inf or number(0.0, open_low=True)(v),
    "ema_decay": number(0.0, 1.0, open_high=True, none=True),
    "clip_norm": number(0.0, open_low=True, none=True),
    "exclude": lambda v: (
        None if callable(v) or isinstance(v, set) else listed(lambda p: isinstance(p, str))(v)
    ),
    "on_nonfinite": one_of("propagate", "skip", "raise"),
    "master": flag,
}
LION = {
    "lr": number(0.0),
    "betas": lambda v: False,
    "weight_decay": number(0.0),
    "maximize": flag,
}
MODULES = {
    "Dropout": (), "Dropout1d": (), "Dropout2d": (), "Dropout3d": (), "AlphaDropout": (),
    "BatchNorm1d": (6,), "BatchNorm2d": (6,), "BatchNorm3d": (6,), "LayerNorm": (6,),
    "RMSNorm": (6,), "GroupNorm": (2, 6), "InstanceNorm1d": (6,), "InstanceNorm2d": (6,),
    "InstanceNorm3d": (6,),
}  # fmt: skip
SHAPES = [(), (6,), (4, 6), (2, 6, 3), (2, 6, 3, 2), (2, 6, 3, 2, 2), (0, 6), (4, 5), (1, 6)]


def outcome(call):
    """What a call does: nothing to be told apart, or an error of some type and words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return None, call()
        except Exception as error:
            return type(error), error


def one_step(make):
    """A constructor and a step."""
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = make([p])
    p.grad = torch.ones(3)
    optimizer.step()


@pytest.mark.parametrize("name", [n for n in optimizers.__all__ if n != "Lion"])
def test_optimizers_take_and_refuse_what_torchs_do(name):
    faults = []
    for argument in inspect.signature(getattr(torch.optim, name)).parameters:
        if argument in ("params", "foreach", "fused", "capturable", "differentiable"):
            continue  # how torch computes: for its own class
        for label, value in bad_values().items():
            given = {argument: value}
            ours, said = outcome(lambda given=given: getattr(fast, name)(parameters(), **given))
            theirs, told = outcome(
                lambda given=given: getattr(torch.optim, name)(parameters(), **given)
            )
            if theirs is not None:
                if (ours, str(said)) != (theirs, str(told)):
                    faults.append(f"{argument}={label}: {said!r}, torch {told!r}")
            elif ours is not None and not (
                issubclass(ours, (TypeError, ValueError)) and name in str(said)
                and argument in str(said)
            ):  # fmt: skip
                faults.append(f"{argument}={label}: {said!r}, torch takes it")
            elif ours is None:  # then it can be used
                kind, error = outcome(
                    lambda given=given: one_step(lambda p: getattr(fast, name)(p, **given))
                )
                if kind is not None:
                    faults.append(f"{argument}={label}: {error!r} by the step alone")
    assert not faults, "\n".join(faults)


def parameters():
    return [torch.nn.Parameter(torch.ones(3))]


@pytest.mark.parametrize("name", optimizers.__all__)
def test_what_optimizers_add_is_refused_by_name(name):
    faults = []
    kinds = OWN | (LION if name == "Lion" else {})
    signature = set(inspect.signature(getattr(fast, name)).parameters)
    theirs = inspect.signature(getattr(torch.optim, name, lambda params: 0)).parameters
    assert signature - set(theirs) == set(kinds) - set(theirs), "the table is complete"
    for argument, kind in kinds.items():
        for label, value in bad_values().items():
            right = kind(value)
            given = {argument: value}
            ours, said = outcome(lambda given=given: getattr(fast, name)(parameters(), **given))
            if ours is None and right is False and argument in OWN:
                faults.append(f"{argument}={label} is taken")
            if ours is not None and right:
                faults.append(f"{argument}={label}: {said!r}")
            if ours is not None and not issubclass(ours, (TypeError, ValueError)):
                faults.append(f"{argument}={label}: {said!r}")
            if ours is not None and argument in OWN and not (
                name in str(said) and argument in str(said)
            ):  # fmt: skip
                faults.append(f"{argument}={label} is not named: {said!r}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("method", ["load_state_dict", "add_param_group"])
@pytest.mark.parametrize("name", optimizers.__all__)
def test_methods_of_optimizers_refuse_by_name_and_change_nothing(name, method):
    faults = []
    for label, value in bad_values().items():
        optimizer = getattr(fast, name)(parameters())
        before = copy.deepcopy(optimizer.state_dict()["param_groups"])
        kind, said = outcome(lambda: getattr(optimizer, method)(value))  # noqa: B023
        if kind not in (TypeError, ValueError):
            faults.append(f"{method}({label}): {said!r}")
        if optimizer.state_dict()["param_groups"] != before:
            faults.append(f"{method}({label}) changes something")
    assert not faults, "\n".join(faults)


def test_the_table_of_modules_is_complete():
    own = {"GaussianDropout"}
    assert set(MODULES) | own == set(dropout.__all__) | set(norm.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_modules_take_and_refuse_what_torchs_do(name):
    faults = []
    inputs = {label: v for label, v in bad_values().items() if not isinstance(v, torch.Tensor)}
    inputs |= {f"tensor {shape}": torch.randn(shape) for shape in SHAPES}
    inputs |= {f"ints {shape}": torch.ones(shape, dtype=torch.int64) for shape in SHAPES}
    inputs["complex"] = torch.ones(4, 6, dtype=torch.complex64)
    inputs["sparse"] = torch.eye(6).to_sparse()
    for training in (True, False):
        for label, value in inputs.items():
            ends = []
            for module in (fast, torch.nn):
                layer = getattr(module, name)(*MODULES[name]).train(training)
                torch.manual_seed(0)
                kind, said = outcome(lambda layer=layer: layer(copy.deepcopy(value)))  # noqa: B023
                ends.append((kind, said if kind is None else str(said)))
            (ours, mine), (theirs, others) = ends
            if ours is not theirs or (ours is not None and mine != others):
                faults.append(f"{label}, training={training}: {mine!r}, torch {others!r}")
            elif isinstance(mine, torch.Tensor) and (
                mine.shape != others.shape or mine.dtype != others.dtype
            ):
                faults.append(f"{label}, training={training}: {mine.shape}, {others.shape}")
    assert not faults, "\n".join(faults)


def test_gaussian_dropout_refuses_rates():
    for value in (-0.1, 1.0, 1.5, math.nan, "x", None, []):
        with pytest.raises((TypeError, ValueError)):
            fast.GaussianDropout(value)


@pytest.mark.parametrize("function", [fast.accelerate, fast.restore])
def test_models_are_modules(function):
    for value in bad_values().values():
        with pytest.raises(TypeError, match=f"{function.__name__}: model must be a torch.nn"):
            function(value)
