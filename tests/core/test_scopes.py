"""A number of threads holds in the scope that asked for it: generators, tasks, copied contexts."""

import asyncio
import contextvars
import threading

import numpy as np
import pytest
from fresh import BUILT, python

import fastreg
from fastreg._core import _kernels
from fastreg.nn import softmax_cross_entropy


def held(n):
    with fastreg.num_threads(n):
        yield fastreg.get_num_threads()


def test_generators_leave_their_scopes_in_any_order():
    before = fastreg.get_num_threads()
    one, two, three = held(5), held(6), held(7)
    assert [next(one), next(two), next(three)] == [5, 6, 7]
    two.close()
    assert fastreg.get_num_threads() == 7
    one.close()
    assert fastreg.get_num_threads() == 7
    three.close()
    assert fastreg.get_num_threads() == before


def test_a_generator_ended_in_another_thread_leaves_nothing():
    before = fastreg.get_num_threads()
    generator = held(9)
    next(generator)
    seen = []

    def end():
        generator.close()
        seen.append(fastreg.get_num_threads())

    other = threading.Thread(target=end)
    other.start()
    other.join()
    assert seen == [before]
    assert fastreg.get_num_threads() == before


def test_a_generator_ended_in_a_copy_of_its_context_leaves_nothing():
    before = fastreg.get_num_threads()
    generator, other = held(9), held(10)
    next(generator)
    copy = contextvars.copy_context()
    next(other)
    copy.run(generator.close)
    assert copy.run(fastreg.get_num_threads) == before
    assert fastreg.get_num_threads() == 10
    other.close()
    assert fastreg.get_num_threads() == before

    async def numbers():
        with fastreg.num_threads(9):
            yield

    async def main():
        opened = numbers()
        await anext(opened)
        await asyncio.create_task(opened.aclose())  # a task runs in a copy
        assert fastreg.get_num_threads() == before

    asyncio.run(main())


def test_scopes_that_overlap_in_turn_leave_nothing_behind():
    """One is always open, as in a pipeline; those left must not pile up behind it."""
    code = """
        import gc, fastreg

        def held(n):
            with fastreg.num_threads(n):
                yield

        generator = held(2)
        next(generator)
        for k in range(200_000):
            following = held(2 + k % 5)
            next(following)
            generator.close()
            generator = following
        scope = type(fastreg._core._kernels.enter_scope(1))
        print(sum(type(one) is scope for one in gc.get_objects()), fastreg.get_num_threads())
    """
    count, n = map(int, python(code).split())
    assert count <= 3
    assert n == 1


def test_a_decorator_holds_for_each_call_and_an_exception_ends_it():
    before = fastreg.get_num_threads()

    @fastreg.num_threads(5)
    def failing():
        raise ArithmeticError(fastreg.get_num_threads())

    for _ in range(2):
        with pytest.raises(ArithmeticError, match="5"):
            failing()
        assert fastreg.get_num_threads() == before


def test_tasks_have_their_own_scopes():
    before = fastreg.get_num_threads()
    seen = {}

    async def task(n, turn):
        with fastreg.num_threads(n):
            await asyncio.sleep(0)
            turn.set()
            await asyncio.sleep(0)
            seen[n] = fastreg.get_num_threads()
            seen[-n] = await asyncio.to_thread(fastreg.get_num_threads)

    async def child(go):
        await go.wait()
        return fastreg.get_num_threads()

    async def main():
        turn, go = asyncio.Event(), asyncio.Event()
        with fastreg.num_threads(8):
            inherits = asyncio.create_task(child(go))
        await asyncio.gather(task(3, turn), task(4, turn))
        assert fastreg.get_num_threads() == before
        go.set()
        assert await inherits == 8  # as any context variable: a task has a copy of its own

    asyncio.run(main())
    assert seen == {3: 3, -3: 3, 4: 4, -4: 4}
    assert fastreg.get_num_threads() == before


def test_a_copied_context_keeps_its_number():
    with fastreg.num_threads(11):
        copy = contextvars.copy_context()
    assert copy.run(fastreg.get_num_threads) == 11
    assert contextvars.Context().run(fastreg.get_num_threads) == fastreg.get_num_threads()


@BUILT
def test_kernels_follow_the_scope():
    """What is asked for where a kernel is called reaches the team, in every family."""
    X = np.ones((512, 256))
    norm, rows = fastreg.BatchNorm(256), fastreg.LayerNorm(256)
    calls = [
        lambda: fastreg.SGD(1e-3).update({"w": X.copy()}, {"w": X}),
        lambda: fastreg.SGD(1e-3, clip_norm=1.0).update({"w": X.copy()}, {"w": X}),
        lambda: fastreg.Dropout(0.5, rng=0).forward(X),
        lambda: norm.backward(norm.forward(X).copy()),
        lambda: rows.backward(rows.forward(X).copy()),
        lambda: fastreg.l2_regularization_loss({"w": X}, 0.1),
        lambda: fastreg.max_norm(X.copy(), 1.0),
        lambda: softmax_cross_entropy(X, np.zeros(512, int)),
    ]

    def shared():
        return sum(one["shared"] + one["taken"] for one in _kernels.team_info()["classes"])

    for call in calls:
        before = shared()
        with fastreg.num_threads(1):
            call()
        assert shared() == before
        with fastreg.num_threads(3):
            call()
        assert shared() > before
