# The compiled module as type checkers see it. Without this file they cannot find it, and nothing
# would check how the package calls it; users need none of it. stubtest compares the two.

from collections.abc import Callable
from typing import Any, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

MAX_CALL: int

def levels() -> tuple[str, ...]: ...
def level() -> str: ...
def fuses() -> bool: ...
def set_level(name: str) -> str | None: ...
def rules() -> dict[str, int]: ...
def num_threads() -> int: ...

SERIAL_BYTES: int

def set_team(threads: int, awake: int, cores: bytes) -> None: ...
def ask_of_all(n: int) -> None: ...

@final
class Scope:
    n: int

def enter_scope(n: int, of_products: bool = ...) -> Scope: ...
def leave_scope(entered: Scope) -> None: ...
def team_info() -> dict[str, Any]: ...
def build_info() -> dict[str, str]: ...
def empty_cache() -> None: ...
def pool_info() -> dict[str, int]: ...
def philox(counter: tuple[int, int, int, int], key: int) -> tuple[int, int, int, int]: ...
def normals(radii: NDArray[np.uint32], angles: NDArray[np.uint32]) -> NDArray[np.float32]: ...
def dropout(
    where: str,
    name: str,
    x: Any,
    out: Any,
    key: int,
    call: int,
    threshold: int,
    scale: float,
    shape: Any = ...,
    first: int = ...,
) -> NDArray[Any]: ...
def alpha_dropout(
    where: str,
    name: str,
    x: Any,
    out: Any,
    key: int,
    call: int,
    threshold: int,
    scale: float,
    kept_shift: float,
    dropped_shift: float,
    first: int = ...,
) -> NDArray[Any]: ...
def gaussian_dropout(
    where: str,
    name: str,
    x: Any,
    out: Any,
    key: int,
    call: int,
    sigma: float,
    shape: Any = ...,
    first: int = ...,
) -> NDArray[Any]: ...
def scale_runs(
    where: str, name: str, x: Any, out: Any, factors: Any, shape: Any = ...
) -> NDArray[Any]: ...
def spread_dropout(
    where: str,
    name: str,
    x: Any,
    out: Any,
    key: int,
    call: int,
    threshold: int,
    scale: float,
    noise_shape: Any,
    shape: Any = ...,
    first: int = ...,
) -> NDArray[Any]: ...
def empty_like(where: str, name: str, x: Any, like: NDArray[Any] | None = ...) -> NDArray[Any]: ...
def byte_bounds(array: NDArray[Any]) -> tuple[int, int]: ...
def float_input(where: str, name: str, x: Any) -> NDArray[Any]: ...
def copy_through(where: str, name: str, x: Any, out: Any, shape: Any = ...) -> NDArray[Any]: ...
def batch_input(
    where: str, name: str, x: Any, n_features: int, channels_last: bool
) -> NDArray[Any]: ...
def channels(
    where: str, name: str, values: Any, shape: tuple[int, ...], like: NDArray[Any] | None = ...
) -> NDArray[Any]: ...
def blend(
    before: NDArray[np.float64], now: NDArray[np.float64], keep: float
) -> NDArray[np.float64]: ...
def batch_statistics(
    x: NDArray[Any], epsilon: float, channels_last: bool = ...
) -> NDArray[np.float64]: ...
def batch_normalize(
    where: str,
    x: NDArray[Any],
    out: Any,
    in_place: bool,
    statistics: NDArray[np.float64],
    gamma: NDArray[np.float64],
    beta: NDArray[np.float64],
    channels_last: bool,
) -> NDArray[Any]: ...
def batch_backward(
    where: str,
    dy: Any,
    out: Any,
    x: NDArray[Any],
    by_batch: bool,
    statistics: NDArray[np.float64],
    gamma: NDArray[np.float64],
    channels_last: bool,
    slopes: list[NDArray[Any]],
) -> NDArray[Any]: ...
def row_input(where: str, name: str, x: Any) -> NDArray[Any]: ...
def row_normalize(
    where: str,
    x: NDArray[Any],
    out: Any,
    in_place: bool,
    cut: tuple[int, int, int],
    gamma: NDArray[Any],
    beta: NDArray[Any],
    epsilon: float,
    centred: bool,
) -> tuple[NDArray[Any], NDArray[np.float64]]: ...
def row_backward(
    where: str,
    dy: Any,
    out: Any,
    x: NDArray[Any],
    cut: tuple[int, int, int],
    statistics: NDArray[np.float64],
    gamma: NDArray[Any],
    centred: bool,
    slopes: list[NDArray[Any]],
) -> NDArray[Any]: ...
def dense_forward(
    x: Any, weights: Any, bias: Any, relu: bool = ..., products: str | None = ...
) -> NDArray[Any]: ...
def dense_backward(
    x: NDArray[Any],
    weights: Any,
    dy: Any,
    dbias: NDArray[Any] | None,
    wants_input: bool,
    products: str | None,
) -> tuple[NDArray[Any] | None, NDArray[Any]]: ...
def bias_gate(y: NDArray[Any], bias: Any, relu: bool, draw: Any) -> NDArray[Any]: ...
def gate_backward(
    where: str, dy: Any, y: Any, scale: float, dbias: NDArray[Any] | None, dw: Product | None = ...
) -> NDArray[Any]: ...
def check_labels(
    where: str, labels: Any, rows: int, classes: int, ignored: Any = ...
) -> NDArray[np.int64]: ...
def count_right(outputs: Any, labels: Any) -> int: ...
def shuffle(rng: Any, order: NDArray[np.int64]) -> None: ...
def rows_at(source: Any, order: Any, start: int, stop: int, room: Any = ...) -> Any: ...
def cross_entropy(
    logits: NDArray[Any], labels: NDArray[Any], shares: Any, smoothing: float
) -> tuple[float, NDArray[Any]]: ...
def usual_cross_entropy(
    logits: Any, labels: Any, smoothing: float
) -> tuple[float, NDArray[Any]] | None: ...
def point_loss(
    kind: str,
    outputs: NDArray[Any],
    targets: NDArray[Any],
    shares: Any,
    a: float = ...,
    b: float = ...,
) -> tuple[float, NDArray[Any]]: ...
def softmax_rows(where: str, name: str, x: Any) -> NDArray[Any]: ...
def power(x: float, y: float) -> float: ...
def missing_power(x: float, y: float) -> float: ...
def cosine(x: float) -> float: ...
def sine(x: float) -> float: ...
def activate(where: str, function: str, x: Any) -> NDArray[Any]: ...
def activate_backward(where: str, function: str, dy: Any, x: NDArray[Any]) -> NDArray[Any]: ...
def weights(where: str, name: str, keys: list[Any], arrays: list[Any]) -> list[NDArray[Any]]: ...
def unpack(weights: Any) -> tuple[list[Any], list[Any]]: ...
def pack(weights: Any, results: list[Any]) -> Any: ...
def sweep(
    where: str,
    name: str,
    structure: Any,
    sums: tuple[str, ...] = ...,
    result: str | None = ...,
    out: list[Any] | None = ...,
    a: float = ...,
    b: float = ...,
    number: float = ...,
) -> tuple[list[float], Any]: ...
def group_squares(matrix: NDArray[Any], by_rows: bool) -> NDArray[np.float64]: ...
def scale_groups(
    matrix: NDArray[Any],
    by_rows: bool,
    factors: NDArray[np.float64],
    out: NDArray[Any] | None = ...,
) -> NDArray[Any]: ...

__test__: dict[str, Any]

class Lock:
    def __new__(cls, name: str, what: str = ..., *owners: Any) -> Self: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...
    def reading(self) -> Reading: ...

class Whole(Lock):
    def run(
        self,
        function: Callable[..., Any],
        caller: Any,
        *args: Any,
        arrays: list[NDArray[Any]] = ...,
    ) -> Any: ...

@final
class Network(Whole):
    def set_stages(self, stages: list[Any]) -> None: ...
    def forward(self, x: Any) -> Any: ...
    def infer(self, x: Any) -> Any: ...
    def backward(self, dy: Any, input_gradient: bool) -> Any: ...

@final
class Pending: ...

@final
class Places:
    def __new__(cls, places: list[Any]) -> Places: ...
    def values(self, complete: bool = ...) -> Any: ...
    def marks(self) -> list[Any]: ...

class Chain:
    layers: Any
    dense: Any
    norm: Any
    dropout: Any
    def __init__(self, layers: Any, dense: Any, norm: Any, relu: bool, dropout: Any) -> None: ...
    def forward(self, x: Any) -> Any: ...
    def backward(self, dy: Any, *, input_gradient: bool = ...) -> Any: ...

def are_in(layers: Any, training: bool) -> bool: ...

@final
class Reading:
    def __new__(cls, lock: Lock) -> Reading: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...

@final
class Group: ...

@final
class Binding: ...

@final
class Block: ...

@final
class Sums: ...

@final
class Product: ...

# steps, skipped steps, count of those that join next, whether averages are swapped in, count and
# memory by name, state by slot and name
_Snapshot: TypeAlias = tuple[
    int,
    int,
    int,
    bool,
    dict[Any, tuple[int, float]],
    list[dict[Any, NDArray[Any]]],
    list[dict[Any, NDArray[Any]]],
]

class State:
    name: str
    assign: Callable[[Any], tuple[int, bool]] | None
    on_nonfinite: str
    clip_norm: float
    measured: tuple[float, bool] | None
    places: dict[Any, int] | None
    maximize: bool
    grad_norm: float
    t: int
    skipped: int
    start: int
    swapped: bool
    bits: int
    averaged: bool
    mastered: bool
    keyed: bool
    draws: bool
    key: int
    def __new__(
        cls,
        name: str,
        rule: str,
        n_groups: int = ...,
        initial: tuple[float | None, ...] = ...,
        averaged: bool = ...,
        bits: int = ...,
        key: int | None = ...,
        mastered: bool = ...,
    ) -> Self: ...
    def get_hyper(self, key: str, group: int = ...) -> Any: ...
    def set_hyper(self, key: str, value: Any, group: int = ...) -> None: ...
    def slot(self, k: int) -> dict[Any, NDArray[Any]]: ...
    def slot_scales(self, k: int) -> dict[Any, NDArray[Any]]: ...
    def set_slot(
        self,
        k: int,
        entries: dict[Any, NDArray[Any]],
        scales: dict[Any, NDArray[Any]] | None = ...,
    ) -> None: ...
    def set_t(self, t: int) -> None: ...
    def halved(self, k: int) -> bool: ...
    def rounds(self, k: int) -> bool: ...
    def encoded(
        self, k: int, floats: NDArray[Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]: ...
    def decoded(self, k: int, codes: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float32]: ...
    def rule_name(self) -> str: ...
    def snapshot(self) -> _Snapshot: ...
    def set_state(
        self, snapshot: _Snapshot, hypers: dict[str, tuple[float, list[int]]], key: int | None
    ) -> None: ...

class Updater(State):
    def update(self, params: Any, grads: Any) -> None: ...
    def check(self, params: Any) -> None: ...
    def swap_averages(self, params: Any) -> None: ...

def tensor_view(capsule: Any, tensor: Any) -> NDArray[Any] | None: ...
def wide_row(array: Any, n: int, default: float) -> NDArray[np.float64]: ...
def kept_statistics(
    mean: NDArray[Any], var: NDArray[Any], epsilon: float
) -> NDArray[np.float64]: ...
def follow(
    running: NDArray[Any],
    statistics: NDArray[np.float64],
    row: int,
    factor: float,
    correction: float,
) -> None: ...

@final
class Part:
    param: Any
    count: Any
    memory: Any
    name: str
    state: dict[str, Any]
    keys: tuple[str, ...]
    tensors: tuple[Any, ...]
    joins: bool
    fresh: dict[str, Any] | None
    def __init__(
        self,
        name: str,
        param: Any,
        group: int,
        rule: int,
        penalised: bool,
        state: dict[str, Any],
        joins: bool,
        fresh: dict[str, Any] | None,
        keys: tuple[str, ...],
        count: str | None,
        memory: str | None,
    ) -> None: ...

class TensorParts:
    def __new__(
        cls,
        name: str,
        table: Any,
        fields: list[tuple[str, str, int, float, float, float | None]],
        flags: list[tuple[str, bool]],
        rule_of: Callable[[dict[str, Any]], tuple[int, bool]],
        refused: Callable[[str, int, Any, str], Exception],
        laid_out: Callable[[str, str, Any, Any], Any],
        written: Callable[[list[Any]], None],
    ) -> Self: ...
    def bind(self, parts: list[Part], n_groups: int, state: Any) -> None: ...
    def check(self, groups: list[Any]) -> None: ...
    draws: bool

@final
class TensorSteps(TensorParts):
    skipped: int
    grad_norm: float
    clip_norm: float
    on_nonfinite: str
    def step(self, groups: list[Any], state: Any, key: int) -> bool: ...

def matmul(a: NDArray[Any], b: NDArray[Any], *, out: NDArray[Any] | None = ...) -> Any: ...
