"""N-10d: what N-10 to N-10c leave out, on more than 2³¹ elements of float32.

What a call makes itself takes 8.6 GB. Sums and norms over everything are compared with float64
sums over a period that comes again and again.
"""

import contextlib
import functools
import math

import numpy as np
from charter import Broken
from rows_large import COUNT, compare, edges, large, mapped, values, wide
from rows_large_layers import (
    PERIOD_ROWS,
    WIDTH,
    close,
    missing,
    period,
    same_at_edges,
    taken,
    total,
    without_the_end,
)

import fastreg
from fastreg import nn
from fastreg._core import _kernels

NAN = np.full(COUNT, np.nan, np.float32)


def rows_backward(make, *shape, sums=False):
    """A norm of rows, backward; its sums over all rows where they begin as windows do."""
    width, name = math.prod(shape), f"{type(make()).__name__} backward"

    def check(n):
        rows, data, layer = n // width + 1, values(), make()
        size = rows * width
        with wide(size) as x, wide(size) as dy, wide(size, edges(size)) as out:
            x.fill(data)
            dy.fill(data[::-1])
            big = [one.array.reshape(rows, *shape) for one in (x, dy, out)]
            out.fill(NAN)
            layer.forward(big[0], out=big[2])
            out.fill(NAN)
            layer.backward(big[1], out=big[2])
            for k in out.own:
                start, stop = -(-k * COUNT // width), min(rows, (k + 1) * COUNT // width)
                alone = make()
                alone.forward(big[0][start:stop].copy())
                wanted = alone.backward(big[1][start:stop].copy())
                if big[2][start:stop].tobytes() != wanted.tobytes():
                    raise Broken(f"{name}: rows of window {k} of {size // COUNT}")
            if sums:
                summed(name, layer, rows)

    return check


def summed(name, layer, rows):
    """The gradient of gamma of a norm over rows of 48."""
    data = period().astype(np.float64)
    slope = np.tile(values()[::-1], 3).reshape(data.shape).astype(np.float64)
    if isinstance(layer, fastreg.LayerNorm):
        data = data - data.mean(1, keepdims=True)
    unit = data / np.sqrt((data**2).mean(1, keepdims=True) + layer.epsilon)
    size = total(np.abs(slope * unit), rows).max()
    close(f"{name}, dgamma", layer.dgamma, total(slope * unit, rows), 1e-6 * size)


def applied(name, call):
    """A function of one element that makes its own array."""

    def check(n):
        data = values()
        with wide(n) as x:
            x.fill(data)
            alone = call(data)
            same_at_edges(name, call(x.array), lambda start, stop: alone[: stop - start])
        fastreg.empty_cache()

    return check


def backward_of(layer, last):
    """A layer's gradient, of what it remembers of its input."""

    def call(x):
        layer._last = last(x)
        return layer.backward(x)

    return call


def lost(kind, *arguments):
    """A loss of elements: its mean, which the library makes of a period too, and its gradient."""

    def check(n):
        rows = n // WIDTH + 1
        share, ones = np.full(PERIOD_ROWS, 1 / rows), np.full(rows, 1 / rows)
        few = period(), np.abs(np.tile(values()[::-1], 3).reshape(PERIOD_ROWS, WIDTH))
        with wide(rows * WIDTH) as x, wide(rows * WIDTH) as y:
            x.fill(values())
            y.fill(np.abs(values()[::-1]))
            big = [one.array.reshape(rows, WIDTH) for one in (x, y)]
            value, slope = _kernels.point_loss(kind, *big, ones, *arguments)
            mean, alone = _kernels.point_loss(kind, *few, share, *arguments)
            rest = rows % PERIOD_ROWS
            last = _kernels.point_loss(
                kind, *(one[:rest] for one in few), share[:rest], *arguments
            )[0]
            wanted = rows // PERIOD_ROWS * mean + last
            close(f"{kind} loss", value, wanted, 1e-9 * abs(wanted))
            whole = np.tile(alone.reshape(-1), 2)
            same_at_edges(
                f"gradient of the {kind} loss",
                slope,
                lambda start, stop: whole[start % (3 * COUNT) :][: stop - start],
            )
            del slope
        fastreg.empty_cache()

    return check


def likely(n):
    """Softmax, and how many rows are largest at their label: every row counts once."""
    rows = n // WIDTH + 1
    with wide(rows * WIDTH) as x:
        x.fill(values())
        big, few = x.array.reshape(rows, WIDTH), period()
        best = few.argmax(1)
        labels = best[np.arange(rows) % PERIOD_ROWS]
        labels[::1000] = (labels[::1000] + 1) % WIDTH
        if _kernels.count_right(big, labels) != rows - labels[::1000].size:
            raise Broken("accuracy: a row is left out, or counted twice")
        whole = np.tile(_kernels.softmax_rows("f", "x", few).reshape(-1), 2)
        same_at_edges(
            "softmax",
            _kernels.softmax_rows("f", "x", big),
            lambda start, stop: whole[start % (3 * COUNT) :][: stop - start],
        )
    fastreg.empty_cache()


def dense(n):
    """A dense layer whose input has n elements, in rows of 64, and its gradients.

    Those of the weights are sums in float32; rows at the borders count once, and others are 0.
    """
    depth, layer = 64, nn.Dense(64, 2, rng=0)
    rows, each = n // depth + 1, COUNT // depth
    few = values().reshape(each, depth)
    with wide(rows * depth) as x:
        x.fill(values())
        big = x.array.reshape(rows, depth)
        dy = np.resize(values()[: 2 * each], (rows, 2))
        alone = layer.forward(few)
        found = layer.forward(big)
        if found[-each:].tobytes() != np.roll(alone, -(rows % each), 0).tobytes():
            raise Broken("Dense: the last rows")
        dx = layer.backward(dy)
        small = nn.Dense(64, 2, rng=0)
        small.forward(few)
        small = small.backward(dy[:each]).reshape(-1)
        same_at_edges("Dense, dX", dx, lambda start, stop: small[: stop - start])
        del dx
        dy[...] = 0
        places = sorted({at // depth for at in (0, 2**29, 2**30, 2**31 - 1, n - 1)})
        dy[[at for at in places if at < rows]] = 1, -1
        layer.backward(dy, input_gradient=False)
        wanted = sum(few[at % each].astype(np.float64) for at in places if at < rows)
        close("Dense, dW", layer.dW, np.stack([wanted, -wanted], 1), 1e-5)
        close("Dense, db", layer.db, np.float64([1, -1]) * dy[:, 0].sum(dtype=np.float64), 0)
    fastreg.empty_cache()


def many_results(n):
    """A product with n results, in rows of 64."""
    wide_rows, right = n // 64 + 1, values()[: 4 * 64].reshape(4, 64)
    left = np.resize(values()[: COUNT // 16], (wide_rows, 4))
    with wide(wide_rows * 64, edges(wide_rows * 64)) as y:
        y.fill(NAN)
        fastreg.matmul(left, right, out=y.array.reshape(wide_rows, 64))
        alone = fastreg.matmul(left[: COUNT // 64].copy(), right).reshape(-1)
        compare("matmul", wide_rows * 64, y, lambda start, stop: alone[: stop - start])


def grouped(n):
    """Penalties of groups, which are rows, and the limit of their norms, in place."""
    rows, each, lasso = n // 64 + 1, COUNT // 64, fastreg.GroupLasso(0.3, axis=1)
    few = values().reshape(each, 64)
    with wide(rows * 64, edges(rows * 64)) as x:
        x.fill(values())
        big = x.array.reshape(rows, 64)
        whole, rest = divmod(rows, each)
        wanted = whole * lasso.value(few) + lasso.value(few[:rest])
        close("GroupLasso", lasso.value(big), wanted, 1e-9 * wanted)
        for name, call in (("gradient", lasso.gradient), ("prox", lasso.prox)):
            alone = call(few).reshape(-1)
            same_at_edges(
                f"GroupLasso's {name}", call(big), lambda a, b, alone=alone: alone[: b - a]
            )
            fastreg.empty_cache()
        fastreg.max_norm(big, 0.5, axis=1)
        alone = fastreg.max_norm(few.copy(), 0.5, axis=1).reshape(-1)
        compare("max_norm", rows * 64, x, lambda start, stop: alone[: stop - start])


def counted(n):
    """Weights near zero: every one counts once."""
    data = values()
    with wide(n) as x:
        x.fill(data)
        whole, rest = divmod(n, COUNT)
        for at in (0, 1):
            found = fastreg.near_zero(x.array, 0.1)[2 * at]
            near = np.abs(data) < 0.1 if at == 0 else data == 0
            if found != whole * near.sum() + near[:rest].sum():
                raise Broken(f"near_zero: {found} of {n}")


def layerwise(name, made, step):
    """A first step of a rule whose rate is a whole tensor's, most of whose norm is at the end."""

    def check(n):
        data, big = values(), np.float32(1e5)
        slots = len(made()._slots)
        with contextlib.ExitStack() as stack:
            grad = stack.enter_context(wide(n, [(n - 1) // COUNT]))
            mine = [stack.enter_context(wide(n, edges(n))) for _ in range(1 + slots)]
            grad.fill(data)
            grad.array[-1] = big
            mine[0].fill(data[::-1])
            for one in mine[1:]:
                one.fill(np.zeros(COUNT, np.float32))
            with fastreg.num_threads(1):
                taken(made(), [one.array for one in mine], grad.array)
            moved = step(data, big, n)
            for k in mine[0].own:
                start, stop = k * COUNT, min(n, (k + 1) * COUNT)
                slope = grad.array[start:stop].astype(np.float64)
                wanted = data[::-1][: stop - start] - moved(slope)
                tolerance = 1e-6 * (np.abs(wanted) + np.abs(moved(slope)))
                close(f"{name}, window {k}", mine[0].array[start:stop], wanted, tolerance)

    return check


def norm(data, n, last=None):
    """The norm of n numbers, which are a period again and again, or with another last one."""
    whole, rest = divmod(n, COUNT)
    squares = data.astype(np.float64) ** 2
    found = whole * squares.sum() + squares[:rest].sum()
    return math.sqrt(found if last is None else found - squares[rest - 1] + float(last) ** 2)


def lars(data, last, n):
    ratio = 0.001 * norm(data[::-1], n) / norm(data, n, last)
    return lambda slope: ratio * slope


def lamb(data, last, n):
    def unit(slope):
        return slope / (np.abs(slope) + 1e-6)

    ratio = norm(data[::-1], n) / norm(unit(data.astype(np.float64)), n, 1)
    return lambda slope: 0.001 * ratio * unit(slope)


def itself(x):
    return x


CHECKS = [
    layerwise("LARS", fastreg.LARS, lars),
    layerwise("LAMB", lambda: fastreg.LAMB(beta1=0.0, beta2=0.0), lamb),  # a state without memory
    rows_backward(lambda: fastreg.LayerNorm(48), 48, sums=True),
    rows_backward(lambda: fastreg.RMSNorm(48), 48, sums=True),
    rows_backward(lambda: fastreg.GroupNorm(4, 48), 48, 5),
    rows_backward(lambda: fastreg.InstanceNorm(6), 6, 7, 5),
    dense,
    many_results,
    grouped,
    counted,
    mapped("an elastic net's gradient",
           lambda x, y: fastreg.ElasticNet(0.3, 0.07).gradient(x, out=y)),
    mapped("an elastic net's prox", lambda x, y: fastreg.ElasticNet(0.3, 0.07).prox(x, out=y)),
    likely,
    *(lost(kind, *numbers) for kind, *numbers in (
        ("binary", 1.0, 0.0), ("absolute",), ("huber", 0.5), ("quantile", 0.3), ("poisson",),
        ("focal", 2.0, 0.25))),
    *(applied(name, functools.partial(_kernels.activate, "f", name))
      for name in ("exp", "log", "log1p", "tanh", "erf", "sigmoid", "normal_gelu")),
    applied("ReLU", lambda x: nn.ReLU().forward(x)),
    *(applied(f"the slope of {type(layer).__name__}", backward_of(layer, itself))
      for layer in (nn.ReLU(), nn.LeakyReLU(0.25), nn.Tanh(), nn.Sigmoid(), nn.GELU(exact=True))),
]  # fmt: skip


short_norm = without_the_end(fastreg.LARS)
short_norm.__name__ = "short_norm"

large(
    "N-10d",
    "more than 2³¹ float32 in LARS and LAMB, the gradients of the norms of rows, dense layers, products with so many results, penalties and limits of groups, counts of weights near zero, an elastic net, softmax and accuracy, the losses of elements, the functions of one element and their slopes: the same as of small arrays or of sums in float64, at the ends and around 2³¹ bytes, 2³² bytes and 2³¹ elements",
    CHECKS,
    short_norm,
    needs=missing,
    lacks="what elements beyond 2³¹ add to the norms of LAMB and of parameters, and to the gradients of gamma and beta of norms of rows, to more than their tolerance; what takes two such arrays of its own or more (LeakyReLU forward, the logarithms of softmax and sigmoid, histograms of weights), groups that are columns, cross-entropy with soft targets, whole training steps",
)
