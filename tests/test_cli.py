"""The command line: what it prints, what it writes and how it says no."""

import contextlib
import io
import subprocess
import sys

import pytest

import fastreg
from fastreg.__main__ import main


def run(*arguments, code=None):
    """Run the command in a process of its own."""
    program = ["-c", code] if code else ["-m", "fastreg"]
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_info_prints_the_configuration():
    shown = io.StringIO()
    fastreg.empty_cache()  # the command starts with an empty pool
    with contextlib.redirect_stdout(shown):
        fastreg.show_config()
    assert run("info").stdout == shown.getvalue()
    first, *_ = shown.getvalue().splitlines()
    assert first.split() == ["fastreg", fastreg.__version__]


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastreg {fastreg.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["lab", "--epochs", "0"], "must be an integer of at least 1, got '0'"),
        (["lab", "--epochs", "two"], "must be an integer of at least 1, got 'two'"),
        (["lab", "--epochs", "²"], "must be an integer of at least 1, got '²'"),
        (["lab", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_a_bad_command_line_is_refused_with_the_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_lab_prints_the_table_and_writes_the_report(tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra 'lab'")
    folder = tmp_path / "a folder" / "deep"
    done = run("lab", "--epochs", 1, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar where there is no terminal
    for word in ("variant", "plain", "dropout", "batch norm", "both", "speed-up"):
        assert word in done.stdout
    assert f"Report: {folder.resolve() / 'index.html'}" in done.stdout
    assert "<svg" in (folder / "index.html").read_text(encoding="utf-8")


def test_quick_is_shorter_and_epochs_overrules_it(monkeypatch, tmp_path):
    digits = pytest.importorskip("fastreg.lab.digits", reason="needs the extra 'lab'")
    asked = []

    def stop(epochs):
        asked.append(epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "run", stop)
    for options in ([], ["--quick"], ["--quick", "--epochs", "3"]):
        assert main(["lab", "--out", str(tmp_path), *options]) == 130
    assert asked[0] > asked[1] > asked[2] == 3


def test_an_interrupted_lab_says_so(monkeypatch, tmp_path, capsys):
    digits = pytest.importorskip("fastreg.lab.digits", reason="needs the extra 'lab'")

    def interrupted(epochs):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "run", interrupted)
    assert main(["lab", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "fastreg lab: interrupted; no report was written\n"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path, capsys):
    pytest.importorskip("fastreg.lab.digits", reason="needs the extra 'lab'")
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert main(["lab", "--out", str(out)]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("fastreg lab: --out must be a folder that can be made")
        assert len(captured.err.splitlines()) == 1 and not captured.out
    assert file.read_text() == "mine"


def test_a_page_that_cannot_be_written_costs_one_line_and_not_the_table(tmp_path, capsys):
    pytest.importorskip("fastreg.lab.digits", reason="needs the extra 'lab'")
    (tmp_path / "index.html").mkdir()
    assert main(["lab", "--epochs", "1", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "speed-up" in captured.out
    assert captured.err.splitlines()[-1].startswith("fastreg lab: the report could not be written")


@pytest.mark.parametrize("package", ["jinja2", "matplotlib", "sklearn", "tqdm"])
def test_a_missing_extra_is_one_clear_line(package, tmp_path):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from fastreg.__main__ import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = run("lab", "--out", tmp_path / "none", code=code)
    assert done.returncode == 1
    assert done.stderr == ("fastreg lab needs the extra 'lab': pip install 'fastreg[lab]'\n")
    assert not (tmp_path / "none").exists()


def test_info_needs_no_extra():
    extras = ("jinja2", "matplotlib", "scipy", "sklearn", "threadpoolctl", "tqdm")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({extras!r})); "
        "from fastreg.__main__ import main; import fastreg.nn, fastreg.train; "
        "sys.exit(main(['info']))"
    )
    assert run(code=code).returncode == 0
