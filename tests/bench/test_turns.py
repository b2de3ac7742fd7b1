"""Who is timed when, and that nobody is timed whose result is wrong."""

import types

import numpy as np
import pytest

from fastreg.bench.contenders import Contender, MissingError, Repeated, known
from fastreg.bench.contenders import fast as library
from fastreg.bench.turns import Effort, Turns, WrongError, interleave
from fastreg.bench.work import Work
from fastreg.bench.worker import prepared, seconds_of

TINY = Effort(rounds=3, sample=0.0, budget=0.0, least=3)


def recorder(log, name, seconds):
    def sample(number):
        log.append((name, number))
        return seconds

    return sample


def test_rounds_are_interleaved():
    log = []
    samplers = {name: recorder(log, name, 1.0) for name in "abc"}
    taken = interleave(samplers, Effort(rounds=3, sample=0.5, budget=100.0))
    assert [name for name, _ in log] == list("abc") + list("abc") * 3
    assert taken == {name: [1.0] * 3 for name in "abc"}


def test_short_calls_are_repeated_until_a_sample_is_long_enough():
    log = []
    interleave({"a": recorder(log, "a", 1.25e-6)}, Effort(rounds=1, sample=1e-3, budget=1.0))
    assert [number for _, number in log] == [1, 10, 100, 800]


def test_a_first_call_that_compiles_is_no_sample():
    seconds = iter([9.0, 1.0, 1.0, 1.0])
    effort = Effort(rounds=3, sample=0.1, budget=0.5, least=2)
    assert interleave({"a": lambda number: next(seconds)}, effort) == {"a": [1.0, 1.0]}


def test_slow_contenders_sit_out_but_for_the_least():
    log = []
    samplers = {"slow": recorder(log, "slow", 2.0), "quick": recorder(log, "quick", 0.1)}
    effort = Effort(rounds=9, sample=0.1, budget=5.0, least=2)
    taken = interleave(samplers, effort)
    assert (len(taken["slow"]), len(taken["quick"])) == (3, 9)
    taken = interleave(samplers, effort._replace(budget=0.0, least=4))
    assert (len(taken["slow"]), len(taken["quick"])) == (4, 4)


def test_seconds_are_those_of_one_piece_of_work(monkeypatch):
    ticks = iter([0.0, 6.0, 10.0, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    calls = []
    assert seconds_of(lambda: calls.append(1), 3) == 2.0
    assert len(calls) == 6, "the first three wake the threads"

    assert seconds_of(Repeated(int, 3), 1) == 2.0


def changed(kind, spoil):
    """The library as a contender whose results are spoiled."""
    make = getattr(library, kind)

    def spoiled(work, arrays, form):
        call, read = make(work, arrays, form)
        return call, lambda returned: spoil(read(returned))

    return types.SimpleNamespace(NAME="wrong", **{kind: spoiled})


def off(results):
    """Results of which the first is off by a little."""
    first = np.array(results[0], dtype=np.result_type(results[0], np.float32))
    return [first * 1.03 + 0.001, *results[1:]]


WORKS = [
    Work("update", "Adam", (100,), 2),
    Work("update", "Adam", (100,), form="clip_norm"),
    Work("layer", "BatchNorm", (40, 8), form="forward+backward"),
    Work("layer", "Dense", (40, 8), form="forward+backward"),
    Work("dropout", "Dropout", (3000,)),
    Work("loss", "softmax_cross_entropy", (40, 5)),
    Work("penalty", "l1_gradient", (100,), 2),
    Work("product", "matmul", (8, 9, 10), form="tn"),
    Work("step", "step", (16, 8, 8, 4), form="BN+dropout"),
]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.kind + work.name)
def test_a_wrong_contender_is_refused_and_a_right_one_is_not(work):
    right = changed(work.kind, lambda results: results)
    prepared(right, work, "")()
    with pytest.raises(WrongError, match="wrong, "):
        prepared(changed(work.kind, off), work, "")


def test_who_does_nothing_is_refused():
    lazy = types.SimpleNamespace(
        NAME="lazy", update=lambda work, arrays, form: (int, lambda _: list(arrays[0].values()))
    )
    with pytest.raises(WrongError, match="lazy, Adam"):
        prepared(lazy, Work("update", "Adam", (100,)), "")


def test_fastreg_must_have_the_bits_of_its_reference():
    work = Work("update", "Adam", (100,))
    nearly = changed("update", lambda results: [np.nextafter(one, np.inf) for one in results])
    prepared(nearly, work, "")  # as good as any other library
    nearly.NAME = "fastreg"
    with pytest.raises(WrongError, match="fastreg, Adam"):
        prepared(nearly, work, "")


def test_large_work_is_checked_on_a_small_case_and_timed_as_it_is():
    sizes = []

    def update(work, arrays, form):
        sizes.append(work.elements)
        return library.update(work, arrays, form)

    one = types.SimpleNamespace(NAME="fastreg", update=update)
    prepared(one, Work("update", "SGD", (3_000_000,)), "")
    assert sizes == [1_000_000, 3_000_000]


def test_what_a_library_lacks_is_said():
    with pytest.raises(MissingError, match="fastreg has nothing of this kind"):
        prepared(library, Work("limit", "copy", (10,)), "")


def test_processes_answer_and_who_is_missing_gives_the_reason():
    turns = Turns(TINY)
    contenders = [Contender("fast"), Contender("textbook"), Contender("nobody")]
    contenders[2] = Contender("sklearn", "none of its forms")
    try:
        found = turns.measure(Work("update", "Lion", (1000,)), contenders)
        again = turns.measure(Work("update", "SGD", (1000,)), contenders[:2])
        assert len(turns.processes) == 3, "a process serves every work of its library"
    finally:
        turns.end()
    fast, textbook, none = (found[one.name] for one in contenders)
    assert len(fast.seconds) == len(textbook.seconds) == 3
    assert min(fast.seconds + textbook.seconds) > 0
    assert fast.given["threads"] == 1
    assert not none.seconds and none.missing  # not installed, or without this rule
    assert set(again) == {one.name for one in contenders[:2]}


def test_a_process_that_dies_costs_nobody_else_their_turn(monkeypatch):
    monkeypatch.setattr(Contender, "environment", lambda self: {"FASTREG_ISA": self.level})
    turns = Turns(TINY)
    contenders = [Contender("fast", level="no such level"), Contender("textbook", level="base")]
    try:
        found = turns.measure(Work("update", "SGD", (1000,)), contenders)
    finally:
        turns.end()
    assert found[contenders[0].name].missing
    assert len(found[contenders[1].name].seconds) == 3


@pytest.mark.parametrize(
    "kind", ["update", "layer", "dropout", "loss", "penalty", "product", "step"]
)
def test_fastreg_leads_and_every_level_takes_part(kind):
    found = known(kind, [4, 2, 1], ["avx2", "base"])
    assert (found[0].library, found[0].threads, found[0].level) == ("fast", 4, "")
    assert len({one.name for one in found}) == len(found)
    assert {one.level for one in found if one.library == "fast"} == {"", "avx2", "base"}
    assert {one.threads for one in found if one.library == "fast"} == {4, 2, 1}
