"""N-10b: activations, losses, BatchNorm and rules with state on more than 2³¹ elements.

Inputs, parameters and states are views of a little memory, as in `rows_large`; a gradient or an
activation that the library makes itself takes 8.6 GB. What depends on all rows (the statistics of
a batch, a mean loss) is compared with float64 sums over the rows of one period, which come again
and again, and what follows from it with its formula: a wrong index finds other numbers.
"""

import contextlib
import functools

import numpy as np
from charter import Broken
from rows_large import COUNT, compare, edges, large, linux, values, wide

import fastreg
from fastreg import optim
from fastreg._core import _kernels

WIDTH = 48
PERIOD_ROWS = 3 * COUNT // WIDTH  # rows of 48 that begin where a window does: every third
NEEDED = 12 << 30  # bytes


def available():
    with open("/proc/meminfo") as file:
        found = next(line for line in file if line.startswith("MemAvailable"))
    return int(found.split()[1]) << 10


def period():
    """The rows that come again and again."""
    return np.tile(values(), 3).reshape(PERIOD_ROWS, WIDTH)


def total(of_rows, rows):
    """The sum over all rows of what is given for those of one period."""
    whole, rest = divmod(rows, PERIOD_ROWS)
    return whole * of_rows.sum(0) + of_rows[:rest].sum(0)


def same_at_edges(name, found, wanted):
    """``found`` is as long as 2³¹ elements, ``wanted`` a function of [start, stop)."""
    flat = found.reshape(-1)
    for k in edges(flat.size):
        start, stop = k * COUNT, min(flat.size, (k + 1) * COUNT)
        if flat[start:stop].tobytes() != wanted(start, stop).tobytes():
            raise Broken(f"{name}: elements from {start:,} of {flat.size:,}")


def close(name, found, wanted, tolerance):
    wrong = ~(np.abs(np.asarray(found, np.float64) - wanted) <= tolerance)  # and what is NaN
    if wrong.any():
        raise Broken(f"{name}: {wrong.sum()} of {wrong.size} are wrong")


def activated(n):
    """GELU and its slope: one loop over blocks serves all functions, and one all slopes."""
    data = values()
    with wide(n) as x:
        x.fill(data)
        for name, call in (
            ("gelu", lambda a: _kernels.activate("f", "gelu", a)),
            ("its slope", lambda a: _kernels.activate_backward("f", "gelu", a, a)),
        ):
            alone = call(data)
            same_at_edges(name, call(x.array), lambda start, stop, own=alone: own[: stop - start])
            fastreg.empty_cache()


def lost(n):
    """Softmax cross-entropy and the squared error; the last row counts as all others together."""
    rows, data = n // WIDTH + 1, period()
    last, shares = (rows - 1) % PERIOD_ROWS, np.full(rows, 1 / rows)
    shares[-1] = 1
    share, labels = np.float64(1 / rows), np.arange(rows) % WIDTH
    labels = labels[:PERIOD_ROWS][np.arange(rows) % PERIOD_ROWS]
    with wide(rows * WIDTH) as x, wide(rows * WIDTH) as y:
        x.fill(values())
        y.fill(values()[::-1])
        other = np.tile(values()[::-1], 3).reshape(data.shape)
        big, target = x.array.reshape(rows, WIDTH), y.array.reshape(rows, WIDTH)
        exact = data.astype(np.float64)
        entropy = np.log(np.exp(exact).sum(1)) - exact[np.arange(PERIOD_ROWS), labels[:PERIOD_ROWS]]
        for name, call, wanted in (
            ("cross_entropy", lambda a, b, c: _kernels.cross_entropy(a, b, c, 0.0), entropy),
            ("squared", lambda a, b, c: _kernels.point_loss("squared", a, b, c),
             ((exact - other) ** 2).mean(1)),
        ):  # fmt: skip
            mine, few = (labels, labels[:PERIOD_ROWS]) if name != "squared" else (target, other)
            _, alone = call(data, few, np.full(PERIOD_ROWS, share))
            _, end = call(data[last:][:1], few[last:][:1], np.ones(1))
            value, gradient = call(big, mine, shares)
            close(name, value, total(wanted, rows - 1) * share + wanted[last], 1e-6)
            whole = np.tile(alone.reshape(-1), 2)

            def expected(start, stop, whole=whole, end=end):
                first = start % (3 * COUNT)
                part = whole[first : first + stop - start].copy()
                if stop == rows * WIDTH:
                    part[-WIDTH:] = end
                return part

            same_at_edges(name, gradient, expected)
            del gradient
            fastreg.empty_cache()


def batch_normalized(n):
    """A batch of so many rows, forward and backward."""
    rows, data = n // WIDTH + 1, period().astype(np.float64)
    size, layer = rows * WIDTH, fastreg.BatchNorm(WIDTH)
    slope = np.tile(values()[::-1], 3).reshape(data.shape).astype(np.float64)
    with contextlib.ExitStack() as stack:
        x, dy = (stack.enter_context(wide(size)) for _ in range(2))
        y, dx = (stack.enter_context(wide(size, edges(size))) for _ in range(2))
        x.fill(values())
        dy.fill(values()[::-1])
        for one in (y, dx):
            one.fill(np.full(COUNT, np.nan, np.float32))
        big = [one.array.reshape(rows, WIDTH) for one in (x, y, dy, dx)]
        layer.forward(big[0], out=big[1])
        layer.backward(big[2], out=big[3])
        mean = total(data, rows) / rows
        var = total((data - mean) ** 2, rows) / rows
        root = np.sqrt(var + layer.epsilon)
        unit = (data - mean) / root
        dgamma, dbeta = total(slope * unit, rows), total(slope, rows)
        for name, found, wanted, terms in (
            ("dgamma", layer.dgamma, dgamma, slope * unit),
            ("dbeta", layer.dbeta, dbeta, slope),
        ):
            close(name, found, wanted, 1e-7 * total(np.abs(terms), rows).max())
        moved = (slope - dbeta / rows - unit * dgamma / rows) / root
        for name, found, wanted in (("BatchNorm", y, unit), ("its gradient", dx, moved)):
            whole = np.tile(wanted.reshape(-1), 2)
            for k in found.own:
                start, stop = k * COUNT, min(size, (k + 1) * COUNT)
                first = start % (3 * COUNT)
                close(f"{name}, window {k}", found.array[start:stop],
                      whole[first : first + stop - start], 1e-4)  # fmt: skip


def stepped(name, rule):
    """A step of a rule with state. A shared window takes one step for each of its places."""
    slots = len(rule()._slots)

    def check(n):
        data = values()
        start = [data[::-1].copy(), *(np.abs(np.roll(data, k + 1)) for k in range(slots))]
        with contextlib.ExitStack() as stack:
            grad = stack.enter_context(wide(n))
            mine = [stack.enter_context(wide(n, edges(n))) for _ in start]
            grad.fill(data)
            for one, first in zip(mine, start, strict=True):
                one.fill(first)
            with fastreg.num_threads(1):
                taken(rule(), [one.array for one in mine], grad.array)
            taken(rule(), start, data)
            for k, (one, alone) in enumerate(zip(mine, start, strict=True)):
                said = f"{name}, slot {k}" if k else name
                compare(said, n, one, lambda a, b, own=alone: own[: b - a])

    return check


def taken(optimizer, arrays, grad):
    """One step with arrays for the parameter and the state, which are written in place."""
    param, *state = arrays
    for k, array in enumerate(state):
        optimizer._updater.set_slot(k, {"w": array})
    optimizer.update({"w": param}, {"w": grad})
    for k, array in enumerate(state):
        assert optimizer._updater.slot(k)["w"] is array


def clipped(n):
    """A norm is that of all gradients, most of which stands at the end; a step is clipped by it."""
    data, last = values(), np.float32(1e5)
    with wide(n, [(n - 1) // COUNT]) as grad, wide(n, edges(n)) as param:
        grad.fill(data)
        grad.array[-1] = last
        param.fill(np.zeros(COUNT, np.float32))
        optimizer = fastreg.SGD(1.0, clip_norm=1.0)
        with fastreg.num_threads(1):
            optimizer.update({"w": param.array}, {"w": grad.array})
        whole, rest = divmod(n, COUNT)
        squares = data.astype(np.float64) ** 2
        before = whole * squares.sum() + squares[: rest - 1].sum()
        norm = np.sqrt(before + np.float64(last) ** 2)
        close("the norm", optimizer.grad_norm, norm, 1e-9 * norm)
        for k in param.own:
            place = slice(k * COUNT, (k + 1) * COUNT)
            found, slope = param.array[place], data[: param.array[place].size].copy()
            slope[-1] = grad.array[place][-1]
            close(f"clipped, window {k}", found, -slope / norm, 1e-6 * np.abs(slope).max() / norm)


#: Every rule that has state, and looks at one element at a time.
RULES = {
    name: getattr(fastreg, name) for name in optim.__all__ if name not in ("SGD", "LARS", "LAMB")
}
RULES["AMSGrad"] = functools.partial(fastreg.Adam, amsgrad=True)
RULES["centred RMSprop with momentum"] = functools.partial(
    fastreg.RMSprop, centered=True, momentum=0.9
)
CHECKS = [
    stepped("Momentum", fastreg.Momentum),  # first: its fault is planted
    *(stepped(name, rule) for name, rule in RULES.items() if name != "Momentum"),
    clipped,
    batch_normalized,
    activated,
    lost,
]


def without_the_end(rule):
    """A fault: a rule with one slot that leaves out what lies beyond 2³¹ elements."""

    def fault(patch):
        plain, first = rule.update, 2**31

        def update(self, params, grads):
            if params["w"].size <= first:
                return plain(self, params, grads)
            other = rule()
            other._updater.set_slot(0, {"w": self._updater.slot(0)["w"][:first]})
            return plain(other, {"w": params["w"][:first]}, {"w": grads["w"][:first]})

        patch.setattr(rule, "update", update)

    return fault


half_of_a_step = without_the_end(fastreg.Momentum)
half_of_a_step.__name__ = "half_of_a_step"


def missing():
    return linux() or ("" if available() > NEEDED else "12 GB of memory are needed")


large(
    "N-10b",
    "more than 2³¹ float32 in every rule that looks at one element at a time, with its state, in the norm of gradients, in BatchNorm both ways, in GELU and its slope, and in softmax cross-entropy and the squared error with their gradients: the same as of small arrays at the ends and around 2³¹ bytes, 2³² bytes and 2³¹ elements",
    CHECKS,
    half_of_a_step,
    needs=missing,
)
