"""The suites hold everything that the library exports, and their names are unique."""

import collections
import importlib.util

import pytest

pytest.importorskip("pytest_benchmark", reason="needs the extra 'bench'")
pytest.importorskip("jinja2", reason="needs the extra 'bench'")
pytest.importorskip("sklearn", reason="needs the extra 'bench'")

from fastreg import dropout, nn, norm, optim, penalty  # noqa: E402
from fastreg.bench.command import SUITES  # noqa: E402

if not SUITES.is_dir():
    pytest.skip("the suites are not beside the tests", allow_module_level=True)


def sides():
    """Every contender at every work."""
    for path in sorted(SUITES.glob("bench_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, function in vars(module).items():
            if name.startswith("bench_"):
                for mark in getattr(function, "pytestmark", ()):
                    if mark.args[:1] == ("side",):
                        yield from (one.values[0] for one in mark.args[1])


SIDES = list(sides())
WORKS = list(dict.fromkeys(side.work for side in SIDES))
TYPES = {"NearZero"}  # what a function returns
LAYERS = {n for n in nn.__all__ if n[0].isupper()} - {"PARAMETERS", "Sequential"}
OWED = {
    "update": set(optim.__all__),
    "layer": set(norm.__all__) | LAYERS,
    "dropout": set(dropout.__all__),
    "loss": set(nn.losses.__all__),
    "penalty": set(penalty.__all__) - TYPES,
}


@pytest.mark.parametrize("kind", OWED)
def test_every_exported_name_is_measured(kind):
    assert {work.name for work in WORKS if work.kind == kind} == OWED[kind]


def test_works_can_be_told_apart():
    for key in (lambda work: work.id, lambda work: work.label):
        counts = collections.Counter(map(key, WORKS))
        assert max(counts.values()) == 1, counts.most_common(3)


def test_both_dtypes_and_all_sizes_are_there():
    for kind in {work.kind for work in WORKS} - {"limit"}:
        assert {w.dtype for w in WORKS if w.kind == kind} == {"float32", "float64"}, kind
    sizes = {work.elements for work in WORKS if work.kind == "update"}
    assert {1_000, 100_000, 1_000_000, 25_000_000} <= sizes


def test_a_work_survives_its_line_of_json():
    for work in WORKS:
        assert type(work).from_json(work.to_json()) == work


def test_costs_are_known_and_a_short_run_is_short():
    for work in WORKS:
        problem = work.problem
        assert problem.bytes_moved(work) + problem.operations(work) > 0, work.id
    short = [side for side in SIDES if side.work.quick and side.contender.quick]
    assert len({side.work for side in short}) < 25
    assert len(short) < 200
