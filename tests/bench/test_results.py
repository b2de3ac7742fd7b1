"""What is written of a run: JSON that pytest-benchmark knows, Markdown, a page, the README."""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("pytest_benchmark", reason="needs the extra 'bench'")
pytest.importorskip("jinja2", reason="needs the extra 'bench'")
pytest.importorskip("sklearn", reason="needs the extra 'bench'")

from fastreg.__main__ import main  # noqa: E402
from fastreg._core import _kernels  # noqa: E402
from fastreg.bench import command, markdown, page, plots, results  # noqa: E402

if not command.SUITES.is_dir():
    pytest.skip("the suites are not beside the tests", allow_module_level=True)


def bench(*arguments):
    """Run the command in a process of its own: pytest inside of pytest shares too much.

    It is not to know whether this process is a worker of pytest-xdist, under which pytest-benchmark
    measures nothing.
    """
    line = [sys.executable, "-m", "fastreg", "bench", *map(str, arguments)]
    own = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    return subprocess.run(line, capture_output=True, text=True, timeout=500, check=False, env=own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The output of a tiny run with the library's own contenders."""
    out = tmp_path_factory.mktemp("bench")
    ran = bench(
        "limits", "optim", "products", "dropout", "import", "--tiny", "--out", out,
        "--libraries", "textbook,inplace", "-k",
        "limit or (SGD and not float64) or (nn and 64x64x64) or (Dropout and 1000) or pass",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return out


@pytest.fixture(scope="module")
def run(folder):
    return results.load(folder / "results.json")


def test_the_json_is_pytest_benchmarks_own(folder):
    found = json.loads((folder / "results.json").read_text("utf-8"))
    assert {"machine_info", "commit_info", "benchmarks", "version"} <= found.keys()
    one = found["benchmarks"][0]
    assert one["stats"]["rounds"] == len(one["stats"]["data"]) == 2
    assert one["stats"]["median"] > 0
    info = one["extra_info"]
    assert info.keys() == {"work", "contender", "given", "bytes", "operations"}
    again = results.Work.from_json(
        json.dumps({k: v for k, v in info["work"].items() if k not in ("id", "elements")})
    )
    assert (again.id, again.elements) == (info["work"]["id"], info["work"]["elements"])


def test_two_runs_can_be_compared(folder, tmp_path):
    for name in ("before.json", "after.json"):
        (tmp_path / name).write_text((folder / "results.json").read_text("utf-8"), "utf-8")
    line = [sys.executable, "-m", "pytest_benchmark", "compare", "before.json", "after.json"]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "'SGD, 1K': " in ran.stdout and "textbook" in ran.stdout


def test_the_time_of_an_import_is_told(run, folder):
    assert run.imports.keys() == {"pass"} and 0.001 < run.imports["pass"].value < 60
    row = f"`pass` {markdown.duration(run.imports['pass'].value)}"
    assert row in markdown.readme_rows(run)
    assert "\n| `pass` | " in (folder / "results.md").read_text("utf-8")


def test_everyone_took_their_turn(run):
    lines = {line.work.label: line for line in run.lines}
    sgd = lines["SGD, 1K"]
    own = sgd.fastreg
    assert own.contender["threads"] == run.about["threads"]
    assert sgd.best("textbook") and sgd.best("inplace") and not sgd.best("torch")
    assert sgd.speedup(own).value == 1.0
    assert own.bytes_moved == 3 * 4 * sgd.work.elements
    assert own.gb_per_s == pytest.approx(1e-9 * own.bytes_moved / own.seconds.value)
    assert {"sweep", "copy", "product"} == {name for name, _, _ in run.limits}
    assert run.peak("float32", 1) >= run.limits["product", "float32", 1]
    levels = {e.contender["level"] for e in sgd.entries.values()}
    assert len(levels) == len(_kernels.levels())


def test_the_table_is_markdown(run, folder):
    text = (folder / "results.md").read_text("utf-8")
    assert text == markdown.table(run)
    assert run.cpu in text and run.about["date"] in text
    for _, header, rows in page.sections(text):
        assert {len(row) for row in rows} == {len(header)}
    assert "| SGD, 1K |" in text
    assert re.search(r"^- \*\*textbook, 1 thread\*\*: NumPy \d", text, re.MULTILINE)


def test_the_page_stands_alone(run, folder):
    text = (folder / "index.html").read_text("utf-8")
    assert text.count("<svg") == len(plots.pictures(run)) >= 3
    assert text.count("<svg") == text.count("</svg>")
    for attribute in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert attribute.startswith(("#", "data:")), attribute
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text
    for line in run.lines:
        assert line.work.label in text or line.work.kind == "limit"
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


README = f"# before\n\n{markdown.BEGIN}\nold\n{markdown.END}\n\nafter\n"


def test_the_readme_is_rewritten_between_its_markers(folder, tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text(README, "utf-8")
    arguments = ["--results", folder / "results.json", "--readme", path, "--out", tmp_path]
    assert main(["bench", *map(str, arguments)]) == 0
    text = path.read_text("utf-8")
    assert text.startswith("# before\n\n" + markdown.BEGIN) and text.endswith("\n\nafter\n")
    assert "old" not in text
    run = results.load(folder / "results.json")
    assert run.cpu in text and run.about["date"] in text
    once = text
    assert main(["bench", *map(str, arguments)]) == 0
    assert path.read_text("utf-8") == once


@pytest.mark.parametrize(
    "text", ["no markers\n", markdown.BEGIN, markdown.END + markdown.BEGIN, README + README]
)
def test_a_readme_without_its_markers_is_left_alone(text, folder, tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text(text, "utf-8")
    arguments = ["--results", folder / "results.json", "--readme", path, "--out", tmp_path]
    assert main(["bench", *map(str, arguments)]) == 1
    assert "must have the lines" in capsys.readouterr().err
    assert path.read_text("utf-8") == text


def test_refusals_are_one_line(tmp_path, capsys):
    assert main(["bench", "optimm", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "SUITE must be among dropout, import, layers" in said and "'optimm'" in said
    assert main(["bench", "--libraries", "torch,scikit", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "--libraries must be among deepspeed, inplace, jax" in said and "'scikit'" in said
    assert main(["bench", "limits", "-k", "nothing", "--out", str(tmp_path)]) == 1
    assert "-k must match some work or contender, got 'nothing'" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()
    other = tmp_path / "other.json"
    other.write_text('{"machine_info": {}, "benchmarks": []}', "utf-8")
    assert main(["bench", "--results", str(other), "--out", str(tmp_path)]) == 1
    assert "was not written by fastreg's benchmarks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5, "2.50 s"),
        (1e-3, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (999e-6, "999 µs"),
        (4e-8, "40.0 ns"),
    ],
)
def test_durations(seconds, text):
    assert markdown.duration(seconds) == text
