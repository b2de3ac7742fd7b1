"""Every sample of the documentation runs as it is printed, and gives what is printed below it."""

import doctest
import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
if not DOCS.exists():
    pytest.skip("the pages are not beside the tests", allow_module_level=True)
PAGES = sorted(path for path in DOCS.rglob("*.md"))
#: Samples that nothing here can run: words in them, and the reason.
NOT_HERE = {
    "jax.grad": "needs JAX",
    "v.value": "needs Keras",
    "LocalCluster": "starts processes: tests/lab/test_clusters.py does",
    "ray.init": "the same",
    "COMM_WORLD": "needs MPI: tests/dist/test_mpi.py has it",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def samples(path):
    """The samples of a page with the lines they begin in; sessions (>>>) and programs."""
    text = path.read_text("utf-8")
    for match in FENCE.finditer(text):
        if match[1] in ("python", "pycon"):
            yield match[1], match[2], text[: match.start()].count("\n") + 1


SAMPLED = [path for path in PAGES if any(samples(path))]


def test_pages_with_samples_are_found():
    assert {path.stem for path in SAMPLED} >= {
        "start",
        "regularization",
        "optimizers",
        "frameworks",
    }
    code = "".join(sample for path in SAMPLED for _, sample, _ in samples(path))
    assert all(words in code for words in NOT_HERE), "a sample that is excused is gone"


@pytest.mark.parametrize("path", SAMPLED, ids=lambda path: path.stem)
def test_samples_run_as_printed(path, tmp_path, monkeypatch):
    """One namespace per page: what a sample defines, the next ones know."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for kind, text, line in samples(path):
        if any(words in text for words in NOT_HERE):
            continue
        for package in ("torch", "sklearn", "pandas", "onnx", "optuna"):
            if re.search(rf"(import|from) (fastreg\.)?{package}\b", text):
                pytest.importorskip(package)
        if kind == "python":
            assert ">>>" not in text, f"{path.name}, line {line}: a session is `pycon`"
            exec(compile(text, f"{path.name}, line {line}", "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(text, names, path.name, str(path), line)
        said = []
        runner = doctest.DocTestRunner()
        runner.run(test, out=said.append, clear_globs=False)
        names = test.globs
        assert runner.tries and not runner.failures, "".join(said)


def test_samples_of_the_chapter_fit_their_pages():
    """A page of 1400 pixels with the lists on both its sides shows so many signs of a line."""
    for path in SAMPLED:
        for _, text, line in samples(path) if path.parent.name == "chapter" else ():
            assert max(map(len, text.splitlines())) <= 84, f"{path.name}, line {line}"


def test_drawings_have_a_form_for_narrow_pages():
    """Both are in one page: names of their arrowheads must not meet."""
    drawings = sorted((DOCS / "diagrams").glob("*.svg"))
    broad = [path for path in drawings if not path.stem.endswith("-narrow")]
    assert len(broad) >= 5 and len(drawings) == 2 * len(broad)
    names = []
    for path in drawings:
        text = path.read_text("utf-8")
        width = float(re.search(r'viewBox="0 0 (\S+) ', text)[1])
        assert width <= (380 if path.stem.endswith("-narrow") else 760), path.name
        own = re.findall(r'id="([^"]+)"', text)
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(own), path.name
        names += own
    assert len(names) == len(set(names))


def test_files_and_commands_that_pages_name_exist():
    tree = DOCS.parent
    makefile = (tree / "Makefile").read_text("utf-8")
    for path in PAGES:
        text = path.read_text("utf-8")
        for name in re.findall(r"`(tests/[\w/.]*)`", text):
            assert (tree / name).exists(), f"{path.name}: {name}"
        for target in re.findall(r"`make (\w+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{path.name}: make {target}"


def test_scripts_of_the_benchmarks_are_all_listed():
    folder = DOCS.parent / "benches"
    scripts = {path.name for path in folder.glob("*.py") if not path.name.startswith("bench_")}
    text = (folder / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE)) == scripts - {
        "conftest.py",
        "process.py",  # what the scripts share
    }


def test_bytes_of_updates_are_those_of_their_rows_in_c():
    """A rule reads parameter, gradient and slots, and writes all but the gradient."""
    rules = (DOCS.parent / "csrc" / "fastreg.h").read_text("utf-8")
    slots = {name: int(n) for name, n in re.findall(r"RULE\((\w+), (\d+), -?\d+,", rules)}
    table = (DOCS / "promises.md").read_text("utf-8")
    for name in ("SGD", "Momentum", "Adam"):
        said = re.search(rf"^\| {name} \|.*\| (\d+) \|$", table, re.MULTILINE)
        assert int(said[1]) == 4 * (3 + 2 * slots[name.lower()])
