"""The command line: what it prints, what it writes and how it says no."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import fastreg
from fastreg.__main__ import main


def run(*arguments, code=None):
    """Run the command in a process of its own."""
    program = ["-c", code] if code else ["-m", "fastreg"]
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_info_prints_the_configuration():
    code = "import fastreg; fastreg.show_config()"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run("info").stdout == shown.stdout
    first, *_ = shown.stdout.splitlines()
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
        (["lab", "--jobs", "0"], "must be an integer of at least 1, got '0'"),
        (["lab", "--jobs", "two"], "must be an integer of at least 1, got 'two'"),
        (["lab", "--jobs", "²"], "must be an integer of at least 1, got '²'"),
        (["lab", "--seeds", "1"], "must be an integer of at least 2, got '1'"),
        (["lab", "--depth"], "unrecognized arguments: --depth"),
    ],
)
def test_a_bad_command_line_is_refused_with_the_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_lab_prints_findings_and_writes_the_report(tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra 'lab'")
    folder = tmp_path / "a folder" / "deep"
    options = ("--quick", "--seeds", 2, "--jobs", 1, "--data", "wine", "--out", folder)
    done = run("lab", "fit_status", "speed", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar where there is no terminal
    for word in ("verdict", "underfitting", "fastreg (ms per step)", "both"):
        assert word in done.stdout
    assert f"Report: {folder.resolve() / 'index.html'}" in done.stdout
    assert "<svg" in (folder / "index.html").read_text(encoding="utf-8")
    files = {path.name for path in folder.iterdir()}
    assert files == {"index.html", "cache", "fit_status.json", "fit_status-curves.png",
                     "speed.json", "speed-times.png"}  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """What an experiment was asked for; it is then interrupted."""
    module = pytest.importorskip("fastreg.lab", reason="needs the extra 'lab'").dropout_rate
    asked = []

    def stop(**options):
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", stop)
    return asked


def test_options_reach_the_experiment(asked, tmp_path):
    for options in ([], ["--quick"], ["--quick", "--seeds", "9", "--jobs", "3"]):
        assert main(["lab", "dropout_rate", "--out", str(tmp_path), *options]) == 130
    assert [one["seeds"] for one in asked] == [5, 3, 9]
    assert [one["quick"] for one in asked] == [False, True, True]
    assert [one["jobs"] for one in asked] == [fastreg.get_num_threads()] * 2 + [3]
    assert {one["data"] for one in asked} == {"digits"}
    assert {one["cache"] for one in asked} == {tmp_path / "cache"}


def test_an_interrupted_lab_says_how_to_go_on(asked, tmp_path, capsys):
    assert main(["lab", "dropout_rate", "--out", str(tmp_path)]) == 130
    message = "fastreg lab: interrupted; the same command goes on from here\n"
    assert capsys.readouterr().err == message


def test_an_unknown_exercise_is_refused_with_the_known(tmp_path, capsys):
    lab = pytest.importorskip("fastreg.lab", reason="needs the extra 'lab'")
    assert main(["lab", "dropout", "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    known = ", ".join(lab.EXPERIMENTS)
    said = f"EXPERIMENT must be among {known}, got 'dropout'; did you mean dropout_rate?"
    assert captured.err == f"fastreg lab: {said}\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path, capsys):
    pytest.importorskip("fastreg.lab", reason="needs the extra 'lab'")
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert main(["lab", "--out", str(out)]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("fastreg lab: --out must be a folder that can be made")
        assert len(captured.err.splitlines()) == 1 and not captured.out
    assert file.read_text() == "mine"


def test_a_page_that_cannot_be_written_costs_one_line_and_not_the_findings(tmp_path, capsys):
    pytest.importorskip("fastreg.lab", reason="needs the extra 'lab'")
    (tmp_path / "index.html").mkdir()
    options = ["--quick", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]
    assert main(["lab", "bias_variance", *options]) == 1
    captured = capsys.readouterr()
    assert "Section 1.2: bias or variance?" in captured.out
    assert captured.err.splitlines()[-1].startswith("fastreg lab: the report could not be written")


@pytest.mark.parametrize("package", ["jinja2", "joblib", "matplotlib", "sklearn", "tqdm"])
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


def test_an_experiment_that_fails_costs_no_other(tmp_path, monkeypatch, capsys):
    module = pytest.importorskip("fastreg.lab", reason="needs the extra 'lab'").dropout_masks

    def fail(**options):
        raise RuntimeError("two\nlines & more")

    monkeypatch.setattr(module, "run", fail)
    options = ["--quick", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path)]
    assert main(["lab", "dropout_masks", "bias_variance", *options]) == 1
    captured = capsys.readouterr()
    assert (
        "Section 1.2: bias or variance?" in captured.out
        and "Missing: dropout_masks: Runtime" in captured.out
    )
    (line,) = captured.err.splitlines()
    assert line.startswith("fastreg lab: dropout_masks: RuntimeError: two lines & more (")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert (
        "An experiment is missing here. dropout_masks: RuntimeError: two lines &amp; more" in page
    )
    assert '<section id="bias_variance">' in page


def test_a_cache_that_cannot_be_written_is_refused_before_training(tmp_path, capsys):
    pytest.importorskip("fastreg.lab", reason="needs the extra 'lab'")
    (tmp_path / "cache").write_text("mine")
    assert main(["lab", "dropout_masks", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and not captured.out
    assert captured.err.startswith("fastreg lab: --out must be a folder that can be made")


def test_help_names_the_experiments_without_their_packages():
    packages = ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({packages!r})); "
        "from fastreg.__main__ import main; sys.exit(main(['lab', '--help']))"
    )
    shown = run(code=code).stdout
    for path in (pathlib.Path(fastreg.__file__).parent / "lab" / "experiments").glob("[a-z]*.py"):
        line = path.read_text(encoding="utf-8").splitlines()[0].strip('"')
        assert re.search(rf"^  {path.stem} +{re.escape(line)}$", shown, re.MULTILINE), path.stem


SHORT = ("--quick", "--seeds", "2", "--jobs", "1", "--out")


@pytest.mark.parametrize(
    "arguments", ["info", "--help", "lab --help", "--version", "lab bias_variance"]
)
@pytest.mark.parametrize("both", [False, True], ids=["out", "out and err"])
def test_a_closed_pipe_is_quiet(arguments, both, tmp_path):
    command = [sys.executable, "-m", "fastreg", *arguments.split()]
    if arguments == "lab bias_variance":
        pytest.importorskip("sklearn", reason="needs the extra 'lab'")
        command += [*SHORT, str(tmp_path)]
    reader, writer = os.pipe()
    os.close(reader)
    error = writer if both else subprocess.PIPE
    with subprocess.Popen(command, stdout=writer, stderr=error) as process:
        os.close(writer)
        said = b"" if both else process.stderr.read()
    assert said == b"" and process.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full device")
@pytest.mark.parametrize("arguments", ["info", "--help", "lab --help", "--version"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_full_disk_is_one_line(arguments, unbuffered):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastreg", *arguments.split()]
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("fastreg: ")


@pytest.mark.skipif(os.name == "nt", reason="signals to groups are POSIX")
@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0])
def test_an_interrupt_at_any_moment_is_one_line(moment, tmp_path):
    """As a terminal sends it: to the whole group of processes."""
    pytest.importorskip("sklearn", reason="needs the extra 'lab'")
    arguments = ["lab", "optimizers", "--seeds", "50", "--jobs", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, *arguments], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr.readline() == "up\n"
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert len(said.splitlines()) == 1 and ": interrupted" in said


#: What ``python -m fastreg`` does, with a sign of life when its first module is there.
STARTED = """
import runpy, sys, importlib.util
sys.orig_argv = [sys.executable, "-m", "fastreg"]
arguments, sys.argv = sys.argv[1:], ["-m"]
class Alive:
    def find_spec(self, name, *rest):
        if name == "fastreg.optim.base":
            print("up", file=sys.stderr, flush=True)
sys.meta_path.insert(0, Alive())
import fastreg
sys.argv = ["fastreg", *arguments]
runpy.run_module("fastreg", run_name="__main__", alter_sys=True)
"""


def test_the_handler_is_for_the_command_alone():
    code = "import signal, fastreg; print(signal.getsignal(signal.SIGINT).__name__)"
    assert run(code=code).stdout == "default_int_handler\n"


@pytest.mark.skipif(os.name == "nt", reason="terminals of this kind are POSIX")
def test_the_bar_says_which_experiment_of_how_many(tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra 'lab'")
    import pty
    import termios

    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 100))
    command = [sys.executable, "-m", "fastreg", "lab", "dropout_masks", "bias_variance"]
    process = subprocess.Popen(
        [*command, *SHORT, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=end
    )
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while part := os.read(terminal, 4096):
            shown += part
    assert process.wait() == 0
    for name in ("1 of 2: dropout_masks", "2 of 2: bias_variance"):
        assert f"{name}: 100%" in shown.decode()
