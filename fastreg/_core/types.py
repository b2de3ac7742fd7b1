"""Names of the types that signatures repeat; imported by type checkers only, never at run time."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "Compat",
    "DTypeLike",
    "Data",
    "Exclude",
    "Gradients",
    "Groups",
    "Hyper",
    "Length",
    "Loss",
    "MaybeArray",
    "Number",
    "Parameters",
    "PathLike",
    "Products",
    "Rate",
    "Saved",
    "ScheduleLike",
    "Seed",
    "Services",
    "ServicesOfAll",
    "Slot",
    "Step",
    "Structure",
    "Weights",
]

Array: TypeAlias = npt.NDArray[Any]
MaybeArray: TypeAlias = Array | Any  # an array, or None as the options of its owner have it
Data: TypeAlias = Any  # what numpy.asarray reads: arrays, nested lists, frames
DTypeLike: TypeAlias = npt.DTypeLike
PathLike: TypeAlias = str | os.PathLike[str]
Saved: TypeAlias = Mapping[str, Any]  # what load_state_dict takes

#: What ``numpy.random.default_rng`` takes.
Seed: TypeAlias = (
    int
    | Sequence[int]
    | npt.NDArray[np.integer[Any]]
    | np.random.SeedSequence
    | np.random.BitGenerator
    | np.random.Generator
    | np.random.RandomState
    | None
)

#: Steps, or a text that a run makes steps of: "fit", "10 epochs", "5%".
Length: TypeAlias = int | str

#: A function of the number of steps taken so far.
ScheduleLike: TypeAlias = Callable[[int], float]
Number: TypeAlias = float | ScheduleLike  # a hyper-parameter that may follow the steps
Step = TypeVar("Step", float, Array)  # a step or an epoch, or an array of them

#: Arrays that an optimizer changes, and their gradients, under the same keys.
Parameters: TypeAlias = dict[Any, Any] | list[Any]
Gradients: TypeAlias = Mapping[Any, Any] | Sequence[Any]

#: Arrays that a penalty reads: one, or a collection of them.
Weights: TypeAlias = Array | Mapping[Any, Array] | Sequence[Array]
Structure = TypeVar("Structure", bound=Weights)  # a result of the kind of its argument

#: A loss: (outputs, targets) to (value, gradient with respect to the outputs).
Loss: TypeAlias = Callable[..., tuple[float, Array]]
LossName: TypeAlias = Literal[
    "binary_cross_entropy",
    "focal",
    "huber",
    "mae",
    "mse",
    "poisson",
    "quantile",
    "softmax_cross_entropy",
]
LossLike: TypeAlias = Loss | LossName

#: Whose matrix products a network uses.
Products: TypeAlias = Literal["own", "blas"]

Compat: TypeAlias = Literal["torch", "keras", "optax"]
Exclude: TypeAlias = Callable[[Any], Any] | Sequence[str]
Groups: TypeAlias = Mapping[str, Mapping[str, Number]]


class ServicesOfAll(TypedDict, total=False):
    """The keyword arguments that every optimizer takes."""

    lambda_l2: float
    lambda_l1: float
    l1_mode: Literal["subgradient", "prox"]
    clip_norm: float | None
    clip_value: float | None
    exclude: Exclude
    groups: Groups | None
    on_nonfinite: Literal["propagate", "skip", "raise"]
    ema_decay: float | None
    maximize: bool
    compat: Compat | None
    state_dtype: Literal["bfloat16", "int8"] | None
    master: bool
    rng: Seed


class Services(ServicesOfAll, total=False):
    """Those of an optimizer that has no argument ``weight_decay`` of its own."""

    weight_decay: Number


class Hyper(Protocol):
    """A hyper-parameter of an optimizer: reads as a number, takes a number."""

    def __get__(self, instance: Any, owner: Any = ...) -> float: ...
    def __set__(self, instance: Any, value: float) -> None: ...


class Rate(Protocol):
    """A hyper-parameter that may follow the steps: reads as the number of the next step."""

    def __get__(self, instance: Any, owner: Any = ...) -> float: ...
    def __set__(self, instance: Any, value: Number) -> None: ...


class Slot(Protocol):
    """State of an optimizer by parameter name."""

    def __get__(self, instance: Any, owner: Any = ...) -> Mapping[Any, Array]: ...
    def __set__(self, instance: Any, value: Mapping[Any, Any]) -> None: ...
