"""N-10e: more than 2³¹ elements of float64, of parameters of 16 bits, and of state in fewer bits.

Rounding by chance is compared with the reference's, whose bits are drawn by an element's place.
"""

import contextlib

import numpy as np
from charter import Broken
from rows_large import COUNT, PERIOD, compare, edges, large, mapped, values, wide
from rows_large_noise import kept

import fastreg
from fastreg.reference.coded import block_pieces, encoded, whole_blocks
from fastreg.reference.halves import PARAM_DRAW, rounded
from fastreg.reference.narrow import narrowed, pieces_of
from fastreg.reference.random import draw_key

SEED = 3


def covering(n, itemsize):
    """The windows of a slot that are compared, or belong to compared windows of float32."""
    count = PERIOD // itemsize
    return sorted({*edges(n, itemsize), *(k * COUNT // count for k in edges(n))})


def stepped(name, rule):
    """A step of a rule in float64, from zeros."""

    def check(n):
        data, own = values(np.float64), edges(n, 8)
        with contextlib.ExitStack() as stack:
            grad = stack.enter_context(wide(n, (), np.float64))
            mine = [
                stack.enter_context(wide(n, own, np.float64)) for _ in range(1 + len(rule()._slots))
            ]
            grad.fill(data)
            mine[0].fill(data[::-1])
            for one in mine[1:]:
                one.fill(np.zeros(one.count))
            optimizer, alone = rule(), data[::-1].copy()
            for k, one in enumerate(mine[1:]):
                optimizer._updater.set_slot(k, {"w": one.array})
            with fastreg.num_threads(1):
                optimizer.update({"w": mine[0].array}, {"w": grad.array})
            rule().update({"w": alone}, {"w": data})
            compare(f"{name} in float64", n, mine[0], lambda start, stop: alone[: stop - start])

    return check


def summed(n):
    """The sum of ones at the borders, in float64."""
    with wide(n, edges(n, 8), np.float64) as x:
        x.fill(np.zeros(x.count))
        places = [0, 2**28 - 1, 2**28, 2**29 - 1, 2**29, 2**31 - 1, 2**31, n - 1]
        places = [at for at in places if at < n]
        for at in places:
            x.array[at] = 1
        if fastreg.l1_regularization_loss({"w": x.array}, 1.0) != len(places):
            raise Broken("the sum of float64")


def masked(n):
    layer = fastreg.Dropout(0.5, rng=SEED)
    with wide(n, (), np.float64) as x, wide(n, edges(n, 8), np.float64) as y:
        x.fill(np.ones(x.count))
        y.fill(np.full(y.count, np.nan))
        layer.forward(x.array, out=y.array)
        compare("Dropout of float64", n, y, lambda a, b: np.where(kept(layer._key, a, b), 2.0, 0.0))


def normalized(n):
    """Layer norm of rows of 48."""
    rows, data = n // 48 + 1, values(np.float64)
    size = rows * 48
    with wide(size, (), np.float64) as x, wide(size, edges(size, 8), np.float64) as y:
        x.fill(data)
        y.fill(np.full(y.count, np.nan))
        big = [one.array.reshape(rows, 48) for one in (x, y)]
        fastreg.LayerNorm(48).forward(big[0], out=big[1])
        for k in y.own:
            start, stop = -(-k * y.count // 48), min(rows, (k + 1) * y.count // 48)
            wanted = fastreg.LayerNorm(48).forward(big[0][start:stop].copy())
            if big[1][start:stop].tobytes() != wanted.tobytes():
                raise Broken(f"LayerNorm of float64: window {k}")


def narrow(kind, itemsize):
    """Adam's first step with its state in fewer bits: parameters, m and v."""

    def check(n):
        data, number = values(), np.dtype(f"u{itemsize}")
        optimizer = fastreg.Adam(state_dtype=kind, rng=SEED)
        alone, full = data[::-1].copy(), fastreg.Adam()
        full.update({"w": alone}, {"w": data})
        with contextlib.ExitStack() as stack:
            grad = stack.enter_context(wide(n))
            param = stack.enter_context(wide(n, edges(n)))
            own = covering(n, itemsize)
            state = [stack.enter_context(wide(n, own, number)) for _ in range(2)]
            grad.fill(data)
            param.fill(data[::-1])
            for k, one in enumerate(state):
                one.fill(np.zeros(one.count, number))
                scales = {"w": np.zeros(-(-n // 256), np.int16)} if itemsize == 1 else None
                optimizer._updater.set_slot(k, {"w": one.array}, scales)
            with fastreg.num_threads(1):
                optimizer.update({"w": param.array}, {"w": grad.array})
            compare(f"Adam in {kind}", n, param, lambda start, stop: alone[: stop - start])
            for k, (one, slot) in enumerate(zip(state, (full.m["w"], full.v["w"]), strict=True)):
                many = np.tile(slot, one.count // COUNT)
                compare(
                    f"slot {k} in {kind}", n, one,
                    lambda a, b, k=k, many=many: rounded_state(kind, k, many[: b - a], a),
                )  # fmt: skip

    return check


def rounded_state(kind, k, x, start):
    """A slot of Adam's from element ``start`` on, as the reference rounds it."""
    key = draw_key(SEED)
    if kind == "int8":
        pieces = block_pieces(pieces_of(key, 0, start, whole_blocks(x.size)), k)
        return encoded(x, k == 1, pieces[: x.size]).codes
    return narrowed(x, pieces_of(key, 0, start, x.size)) if k else narrowed(x)


def halves(n):
    """SGD of parameters of 16 bits, which are rounded by chance."""
    data = values(np.float16)
    with wide(n, (), np.float16) as grad, wide(n, edges(n, 2), np.float16) as param:
        grad.fill(data)
        param.fill(data[::-1])
        with fastreg.num_threads(1):
            fastreg.SGD(0.25, rng=SEED).update({"w": param.array}, {"w": grad.array})
        moved = data[::-1].astype(np.float32) - np.float32(0.25) * data.astype(np.float32)

        def expected(start, stop):
            pieces = pieces_of(draw_key(SEED), 0, start + (PARAM_DRAW << 60), stop - start)
            return rounded(moved[: stop - start], np.float16, pieces)

        compare("SGD of float16", n, param, expected)


CHECKS = [
    halves,
    narrow("bfloat16", 2),
    narrow("int8", 1),
    summed,
    masked,
    mapped("soft_threshold of float64", lambda x, y: fastreg.soft_threshold(x, 0.3, out=y),
           dtype=np.float64),
    mapped("l2_gradient of float64", lambda x, y: fastreg.l2_gradient(x, 0.3, out=y),
           dtype=np.float64),
    stepped("SGD", fastreg.SGD),
    stepped("Adam", fastreg.Adam),
    normalized,
]  # fmt: skip


def same_chance(patch):
    """Rounding whose bits come again after 2³¹ bytes."""
    plain = fastreg.SGD.update

    def update(self, params, grads):
        if params["w"].size <= 2**31:
            return plain(self, params, grads)
        parts = [
            {"w": one["w"][at]}
            for at in (slice(2**30), slice(2**30, None))
            for one in (params, grads)
        ]
        plain(self, *parts[:2])
        return plain(fastreg.SGD(0.25, rng=SEED), *parts[2:])

    patch.setattr(fastreg.SGD, "update", update)


large(
    "N-10e",
    "more than 2³¹ elements of float64 in sums, Dropout, the soft threshold, the gradient of L2, SGD, Adam and LayerNorm, of float16 in SGD, and Adam's state in bfloat16 and int8: the bits of small arrays, or of the reference's rounding, at the ends and around 2³¹ bytes, 2³² bytes and 2³¹ elements",
    CHECKS,
    same_chance,
    lacks="float64 in what makes arrays of its own (17 GB), in BatchNorm and in other rules, other rules' state in fewer bits, bfloat16 parameters, and steps after the first, whose codes are decoded",
)
