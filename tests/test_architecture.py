"""Who may know whom, and that every public name has a test, a benchmark and a twin."""

import ast
import doctest
import importlib
import inspect
import itertools
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import fastreg
from fastreg import nn, reference

PACKAGE = pathlib.Path(fastreg.__file__).parent
TREE = pathlib.Path(__file__).parent.parent
STANDARD = set(sys.stdlib_module_names)

#: What a module may import beside the standard library. Anything not listed is the lab's.
LEAF = {"numpy", "fastreg._arrays", "fastreg._checks", "fastreg._kernels", "fastreg._seeds"}
ALLOWED = {
    "_arrays": {"numpy", "fastreg._checks"},
    "_checks": set(),
    "_command": set(),
    "_seeds": {"numpy", "fastreg._checks"},
    "_layer": {"fastreg._kernels"},
    "_optimizer": {
        "fastreg._checks",
        "fastreg._kernels",
        "fastreg._optimizer_groups",
        "fastreg._optimizer_hypers",
        "fastreg._optimizer_state",
    },
    "_optimizer_groups": {"fastreg._checks"},
    "_optimizer_hypers": {"fastreg._checks", "fastreg._optimizer_state"},
    "_optimizer_state": {"numpy", "fastreg._checks"},
    "adam": {"fastreg._checks", "fastreg._optimizer", "fastreg._optimizer_hypers"},
    "_loop": {"tqdm"},
    "_measure": {"numpy"},
    "_resume": {"numpy", "fastreg._checks", "fastreg._schedule", "fastreg.checkpoint"},
    "_targets": {"numpy", "fastreg._arrays", "fastreg._checks"},
    "callbacks": {"fastreg._checks", "fastreg.diagnosis"},
    "_replace": set(),
    "checkpoint": {"numpy", "fastreg", "fastreg._checks", "fastreg._replace"},
    "_binary": {"numpy", "fastreg._checks"},
    "_csv": {"numpy", "fastreg._checks", "fastreg._table"},
    "_table": {"numpy", "fastreg._checks"},
    "data": {
        "numpy",
        "fastreg._arrays",
        "fastreg._binary",
        "fastreg._checks",
        "fastreg._csv",
        "fastreg._seeds",
        "fastreg._table",
    },
    "nn/__init__": {
        f"fastreg.nn.{name}" for name in ("activations", "dense", "losses", "sequential")
    },
    "nn/activations": LEAF | {"fastreg._layer"},
    "nn/block": {
        "fastreg._kernels",
        "fastreg._random",
        "fastreg.dropout",
        "fastreg.norm",
        "fastreg.nn.activations",
        "fastreg.nn.dense",
    },
    "nn/dense": LEAF | {"fastreg._layer"},
    "nn/losses": LEAF | {"fastreg._arrays", "fastreg._targets", "fastreg.nn.activations"},
    "nn/sequential": {
        "numpy",
        "fastreg._kernels",
        "fastreg._arrays",
        "fastreg._checks",
        "fastreg._seeds",
        "fastreg.dropout",
        "fastreg.norm",
        "fastreg.reference",
        "fastreg.nn",
        "fastreg.nn.block",
        "fastreg.nn.dense",
    },
    "compare": {"fastreg._checks", "fastreg.optim"},
    "_schedule": {"numpy", "fastreg._checks", "fastreg._steps"},
    "_steps": {
        "numpy",
        "fastreg._arrays",
        "fastreg._checks",
    },  # NumPy inside one function, for arrays of steps
    "_weights": {"numpy", "fastreg._kernels"},
    "config": {"numpy", "fastreg", "fastreg._checks", "fastreg._kernels"},
    "decomposition": {
        "numpy",
        "fastreg._arrays",
        "fastreg._checks",
        "fastreg._seeds",
        "joblib",
        "tqdm",
    },
    "diagnosis": {"numpy", "fastreg._arrays", "fastreg._checks"},
    "group": LEAF | {"fastreg._weights"},
    "_random": LEAF | {"fastreg._layer"},
    "dropout": LEAF | {"fastreg._random"},
    "noise": LEAF | {"fastreg._random"},
    "norm": LEAF | {"fastreg._layer"},
    "optim": {"fastreg._checks", "fastreg._optimizer", "fastreg._optimizer_hypers", "fastreg.adam"},
    "penalty": {"fastreg._checks", "fastreg._weights"},
    "plateau": {"fastreg._checks"},
    "rates": {"fastreg._steps"},
    "reference/nn": {"numpy"},
    "score": {
        "numpy",
        "fastreg._arrays",
        "fastreg._checks",
        "fastreg._targets",
        "fastreg.nn.activations",
    },
    "reference/group": {"numpy", "fastreg.reference.penalty"},
    "reference/dropout": {"numpy", "fastreg.reference.random"},
    "reference/noise": {"numpy", "fastreg.reference.dropout", "fastreg.reference.random"},
    "reference/random": {"numpy"},
    "reference/norm": {"numpy"},
    "reference/adam": {"numpy", "fastreg.reference.optimizer"},
    "reference/optim": {"numpy", "fastreg.reference.adam", "fastreg.reference.optimizer"},
    "reference/optimizer": {"numpy"},
    "reference/penalty": {"numpy"},
    "reference/sparsity": {"numpy", "fastreg.reference.penalty"},
    "schedule": {"fastreg._schedule", "fastreg._steps"},
    "sparsity": {"numpy", "fastreg._checks", "fastreg._weights"},
    "_rownorm": LEAF | {"fastreg._layer"},
    "groupnorm": {"fastreg._checks", "fastreg._rownorm"},
    "layernorm": {"fastreg._checks", "fastreg._rownorm"},
    "reference/groupnorm": {"numpy"},
    "reference/layernorm": {"numpy"},
    "stopping": {"fastreg._checks", "fastreg.plateau"},
    "train": {
        "numpy",
        "fastreg._checks",
        "fastreg._schedule",
        "fastreg._targets",
        "fastreg._loop",
        "fastreg._measure",
        "fastreg._resume",
        "fastreg._seeds",
        "fastreg.checkpoint",
        "fastreg.config",
        "fastreg.score",
    },
}
FREE = {"__init__", "__main__", "reference/__init__"}  # the public names and the command
MODULES = ["fastreg", *(f"fastreg.{name.replace('/', '.')}" for name in ALLOWED)]
PUBLIC = fastreg.__all__


def module_of(name):
    """The module that defines a public name, below ``fastreg``."""
    return getattr(getattr(fastreg, name), "__module__", name).removeprefix("fastreg.")


#: What passes compiled code on to the modules of its family.
SEAMS = {"fastreg._optimizer", "fastreg._random", "fastreg._rownorm", "fastreg._weights"}

#: What runs compiled code has a twin in `reference`; what is pure Python, such as schedules and
#: early stopping, is its own specification.
TWINNED = [name for name in PUBLIC if hasattr(reference, name) and name != "Optimizer"]


def imports(path):
    """The modules a file imports, ``from fastreg import x`` as ``fastreg.x`` where x is one."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (PACKAGE / f"{alias.name}.py").exists() or alias.name == "_kernels"
                yield inner if node.module == "fastreg" and is_module else node.module


@pytest.mark.parametrize("name", ALLOWED)
def test_modules_import_only_what_they_may(name):
    found = {module for module in imports(PACKAGE / f"{name}.py")}
    foreign = {m for m in found if m.split(".")[0] not in STANDARD} - ALLOWED[name]
    assert not foreign, f"{name} imports {foreign}"


def test_only_the_lab_needs_extras():
    code = "import sys, fastreg.schedule; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    top = {name.split(".")[0] for name in loaded.stdout.split()}
    assert not top & {
        "matplotlib",
        "pandas",
        "sklearn",
        "torch",
        "tqdm",
        "joblib",
        "jinja2",
        "scipy",
    }


def test_c_headers_include_downwards():
    if not (TREE / "csrc").exists():
        pytest.skip("the sources are not beside the tests: an installed wheel is being tested")
    sources = TREE / "csrc"
    templates = {path.name for path in sources.glob("*_tmpl.h")}
    allowed = {
        "philox.h": {"lanes.h"},
        "kernels.h": {"exp.h", "normal.h", "philox.h", "stream.h"} | templates,
        "team.c": {"system.h", "team.h"},
    }
    for level, kind in itertools.product(("base", "avx2", "avx512"), ("f32", "f64")):
        entry = {"fastreg.h", f"isa_{level}.h", f"type_{kind}.h", "kernels.h"}
        allowed[f"{level}_{kind}.c"] = entry
    for path in sources.iterdir():
        found = {
            line.split('"')[1] for line in path.read_text().splitlines()
            if line.startswith('#include "')
        }  # fmt: skip
        limit = {"fastreg.h"} if path.suffix == ".c" else set()
        assert found <= allowed.get(path.name, limit), path.name
        text = path.read_text()
        for word in ("Python.h", "omp.h", "malloc", "#pragma omp"):
            assert word not in text, f"{path.name} has {word}"
        threads = {word for word in ("pthread", "atomic_") if word in text}
        assert not threads or path.name in {"team.c", "system.h"}, f"{path.name} has {threads}"


def test_the_seam_declares_the_table_as_it_is():
    """C makes the table from one list; Cython cannot, so its copy is compared with the list."""
    if not (TREE / "csrc").exists():
        pytest.skip("the sources are not beside the tests: an installed wheel is being tested")
    listed = re.findall(r"K\((\w+), (\w+)\)", (TREE / "csrc/fastreg.h").read_text())
    seam = (PACKAGE / "_kernels.pxd").read_text().split("ctypedef struct fr_kernels:")[1]
    fields = seam.split("ctypedef struct")[0].splitlines()
    declared = [tuple(line.split()) for line in fields if line.strip() and "[" not in line]
    assert declared == listed


def test_only_kernels_reach_c():
    for path in PACKAGE.glob("*.p[xy]*"):
        if path.name != "_kernels.pxd" and path.suffix in (".pyx", ".pxi", ".pxd"):
            assert '"fastreg.h"' not in path.read_text(), path.name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_tested(name):
    texts = [path.read_text() for path in pathlib.Path(__file__).parent.glob("test_*.py")]
    here = pathlib.Path(__file__).read_text()
    by_list = name in fastreg.optim.__all__ and any("optim.__all__" in text for text in texts)
    assert by_list or any(name in text for text in texts if text != here), name


def arguments(function):
    """The signature but for ``out``, which only compiled functions take."""
    signature = inspect.signature(function)
    taken = [p for p in signature.parameters.values() if p.name != "out"]
    return signature.replace(parameters=taken)


METHODS = {"forward", "backward", "train", "eval", "update"}
METHODS |= {"value", "gradient", "value_and_gradient", "prox"}


def test_what_runs_compiled_code_is_twinned():
    compiled = {
        name for name in ALLOWED
        if {"fastreg._kernels", *SEAMS} & set(imports(PACKAGE / f"{name}.py"))
    }  # fmt: skip
    compiled -= {"_layer", "config", *(seam.removeprefix("fastreg.") for seam in SEAMS)}
    compiled -= {name for name in compiled if name.startswith("nn/")}  # its names are in fastreg.nn
    assert compiled == {module_of(name) for name in TWINNED}


@pytest.mark.parametrize("name", sorted(set(nn.__all__) - {"PARAMETERS", "Sequential", "mlp"}))
def test_names_of_networks_have_a_twin(name):
    fast, slow = getattr(nn, name), getattr(reference, name)
    assert arguments(fast) == arguments(slow), "twins take the same arguments"
    for method in METHODS & set(dir(slow)):
        assert hasattr(fast, method), f"{name} lacks {method}"


@pytest.mark.parametrize("name", TWINNED)
def test_compiled_names_have_a_benchmark_and_a_twin(name):
    fast, slow = getattr(fastreg, name), getattr(reference, name)
    assert arguments(fast) == arguments(slow), "twins take the same arguments"
    for method in METHODS & set(dir(slow)):
        assert hasattr(fast, method), f"{name} lacks {method}"
    benches = TREE / "benches"  # those of the optimizers iterate the library's own list
    if benches.exists() and name not in fastreg.optim.__all__:
        assert any(name in path.read_text() for path in benches.glob("*.py")), "no benchmark"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    thing = getattr(fastreg, name)
    documentation = inspect.getdoc(thing)
    assert documentation
    if not inspect.ismodule(thing):
        assert "Examples\n--------\n>>>" in documentation, "no doctested example"


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"np": np, "fastreg": fastreg})
    assert result.failed == 0


def test_every_module_is_accounted_for():
    files = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    lab = {name for name in files if name.startswith("lab/")}
    assert files - lab == set(ALLOWED) | FREE


def test_the_seam_has_no_list_comprehensions():
    """When memory runs out, Cython 3.3 drops the item that one could not append twice."""
    for path in (*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxi")):
        found = re.findall(r"\[[^\[\]\n]*\sfor\s[^\n]*\sin\s", path.read_text("utf-8"))
        assert not found, f"{path.name}: {found}"
