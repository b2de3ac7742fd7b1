"""Who may know whom, and that every public name has a test and a twin."""

import ast
import doctest
import importlib.util
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

#: What the modules of a folder may import beside the standard library and each other, one rule per
#: folder. "." is the files beside the folders: what people import by name. The lab and the
#: benchmarks may know all.
FAMILY = {"numpy", "_core"}
ALLOWED = {
    "_core": {"numpy"},
    "optim": FAMILY,
    "norm": FAMILY,
    "dropout": FAMILY,
    "penalty": FAMILY,
    "schedule": FAMILY,
    "data": FAMILY,
    "reference": {"numpy"},
    "nn": FAMILY | {"norm", "dropout", "reference"},
    "_train": FAMILY | {"nn", "schedule", "data", "checkpoint", "metrics", "history", "tqdm"},
    "dist": FAMILY | {"_train", "nn", "norm", "dropout", "optim", "checkpoint", "."},
    "study": FAMILY | {"optim", "joblib", "tqdm"},
    "sklearn": {"numpy", "scipy", "nn", "optim", "schedule", "checkpoint", "."},  # public
    "callbacks": FAMILY | {"_train", "study", "optuna"},  # when asked for
    ".": FAMILY
    | {
        "nn",
        "schedule",
        "callbacks",
        "_train",
        "dist",
        "study",
        "matplotlib",
    },  # when it is asked for
    "torch": FAMILY | {"torch", "norm", "dropout"},  # and nothing may know it
    "export": FAMILY
    | {"nn", "norm", "dropout", "checkpoint", "data", "onnx", "torch", "."},  # nor it
}
FREE = {"fastreg", "fastreg.__main__"}  # the public names, and the command


def module(path):
    """The dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder(name):
    """The folder of the package that holds a module: its rule's name."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "."


FILES = {module(path): path for path in sorted(PACKAGE.rglob("*.py"))}
BEYOND = {"lab", "bench"}  # know everything
MODULES = [name for name in FILES if folder(name) not in BEYOND and name != "fastreg.__main__"]
for bridge in ("sklearn", "torch"):
    if importlib.util.find_spec(bridge) is None:
        MODULES = [name for name in MODULES if folder(name) != bridge]
PUBLIC = fastreg.__all__


def module_of(name):
    """The module that defines a public name."""
    return getattr(getattr(fastreg, name), "__module__", name)


#: What passes compiled code on to the modules of its family.
SEAMS = {f"fastreg.{n}" for n in ("optim.base", "dropout.base", "norm.rows", "penalty.weights")}

#: What runs compiled code has a twin in `reference`; what is pure Python, such as schedules and
#: early stopping, is its own specification.
TWINNED = [name for name in PUBLIC if hasattr(reference, name) and name != "Optimizer"]


def nodes(tree, typing):
    """All nodes of a tree, without what only type checkers see unless ``typing``."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if typing or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from nodes(node, typing)


def imports(path, typing=False):
    """The modules a file imports, ``from fastreg import x`` as ``fastreg.x`` where x is one."""
    for node in nodes(ast.parse(path.read_text()), typing):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES or alias.name == "_kernels" else node.module


@pytest.mark.parametrize("name", [name for name in MODULES if name not in FREE])
def test_modules_import_only_what_their_folder_may(name):
    own, foreign = folder(name), set()
    for found in imports(FILES[name], typing=True):
        top, *inner = found.split(".")
        place = folder(found) if top == "fastreg" else top
        place = inner[0] if place == "." and inner and own != "." else place
        if found == "fastreg._core.types":  # for type checkers; see below
            continue
        if place != own and top not in STANDARD and place not in ALLOWED[own]:
            foreign.add(found)
    assert not foreign, f"{name} imports {foreign}"


@pytest.mark.parametrize("name", MODULES)
def test_types_are_imported_by_type_checkers_only(name):
    assert "fastreg._core.types" not in set(imports(FILES[name]))


def test_the_bridge_to_scikit_learn_knows_public_names_only():
    """Folders and the files beside them, but no module inside a folder."""
    for name in MODULES:
        if folder(name) == "sklearn":
            for found in imports(FILES[name]):
                top, *inner = found.split(".")
                inside = top == "fastreg" and folder(found) != "sklearn" and len(inner) > 1
                assert not inside and "_core" not in inner and "_train" not in inner, (name, found)


def test_every_folder_has_a_rule():
    assert {folder(name) for name in FILES} == set(ALLOWED) | BEYOND


#: Small modules of the standard library that NumPy may not have loaded.
SMALL = {"__future__", "contextvars", "cython_runtime", "fnmatch", "signal", "threading"}


def test_import_loads_what_it_must_and_no_more():
    """Time is for benches/bench_import.py; this is what keeps it within 1.3 times NumPy's."""
    code = (
        "import sys, numpy; known = {*sys.modules}; import fastreg; print(*{*sys.modules} - known)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {name.split(".")[1] for name in found if name.startswith("fastreg.")}
    assert ours == {"_command", "_core", "config", "dropout", "norm", "optim"}
    others = {name.split(".")[0] for name in found if not name.startswith("_cython_")}
    assert others - {"fastreg"} <= SMALL


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
        "onnx",
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
    functions = {"exp.h", "log.h", "tanh.h", "erf.h", "wide.h", "gelu.h"}
    allowed = {
        "philox.h": {"lanes.h"},
        "fastreg.h": {"product.h"},
        "kernels.h": functions | {"fma.h", "normal.h", "philox.h", "stream.h"} | templates,
        "team.c": {"system.h", "team.h"},
        "scalar.c": {"fastreg.h", "exp.h", "wide.h"},
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
    seam = (PACKAGE / "_core/_kernels.pxd").read_text().split("ctypedef struct fr_kernels:")[1]
    fields = seam.split("ctypedef struct")[0].splitlines()
    declared = [tuple(line.split()) for line in fields if line.strip() and "[" not in line]
    assert declared == listed


def test_only_kernels_reach_c():
    for path in PACKAGE.rglob("*.p[xy]*"):
        if path.name != "_kernels.pxd" and path.suffix in (".pyx", ".pxi", ".pxd"):
            assert '"fastreg.h"' not in path.read_text(), path.name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_tested(name):
    texts = [path.read_text() for path in pathlib.Path(__file__).parent.rglob("test_*.py")]
    here = pathlib.Path(__file__).read_text()
    by_list = name in fastreg.optim.__all__ and any("optim.__all__" in text for text in texts)
    assert by_list or any(name in text for text in texts if text != here), name


def arguments(function):
    """The signature but for its types and for ``out``, which only compiled functions take."""
    signature = inspect.signature(function)
    taken = [p for p in signature.parameters.values() if p.name != "out"]
    taken = [p.replace(annotation=p.empty) for p in taken]
    return signature.replace(parameters=taken, return_annotation=signature.empty)


METHODS = {"forward", "backward", "train", "eval", "update"}
METHODS |= {"value", "gradient", "value_and_gradient", "prox"}


def test_what_runs_compiled_code_is_twinned():
    compiled = {
        name for name in MODULES if {"fastreg._core._kernels", *SEAMS} & set(imports(FILES[name]))
    }
    compiled -= SEAMS | {"fastreg.config"}
    compiled = {name for name in compiled if folder(name) not in ("_core", "dist", "nn", "torch")}
    compiled = {name for name in compiled if FILES[name].name != "__init__.py"}
    assert compiled == {module_of(name) for name in TWINNED}


STARRED = re.compile(r"^from (fastreg\.[\w.]+) import \*", re.MULTILINE)
GATHERED = {
    ".".join(path.parent.relative_to(PACKAGE.parent).parts): STARRED.findall(path.read_text())
    for path in sorted(PACKAGE.glob("**/__init__.py"))
}


@pytest.mark.parametrize("name", [name for name, found in GATHERED.items() if found])
def test_packages_offer_all_that_their_modules_do(name):
    if name == "fastreg.torch":
        pytest.importorskip("torch")
    package = importlib.import_module(name)
    offered = [set(importlib.import_module(module).__all__) for module in GATHERED[name]]
    assert set().union(*offered) <= set(package.__all__)


@pytest.mark.parametrize("name", sorted(set(nn.__all__) - {"PARAMETERS", "Sequential", "mlp"}))
def test_names_of_networks_have_a_twin(name):
    fast, slow = getattr(nn, name), getattr(reference, name)
    assert arguments(fast) == arguments(slow), "twins take the same arguments"
    for method in METHODS & set(dir(slow)):
        assert hasattr(fast, method), f"{name} lacks {method}"


@pytest.mark.parametrize("name", TWINNED)
def test_compiled_names_have_a_twin(name):
    fast, slow = getattr(fastreg, name), getattr(reference, name)
    assert arguments(fast) == arguments(slow), "twins take the same arguments"
    for method in METHODS & set(dir(slow)):
        assert hasattr(fast, method), f"{name} lacks {method}"


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


def test_the_seam_has_no_list_comprehensions():
    """When memory runs out, Cython 3.3 drops the item that one could not append twice."""
    for path in (*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxi")):
        found = re.findall(r"\[[^\[\]\n]*\sfor\s[^\n]*\sin\s", path.read_text("utf-8"))
        assert not found, f"{path.name}: {found}"
