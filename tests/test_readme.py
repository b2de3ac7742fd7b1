"""Every sample of the README runs as it is printed, in an empty folder, with nothing defined."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import fastreg
from fastreg.__main__ import parser

HERE = pathlib.Path(fastreg.__file__).parent.parent
README = pathlib.Path(__file__).parent.parent / "README.md"
if not README.exists():
    pytest.skip("the README is not beside the tests", allow_module_level=True)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
SAMPLES = [text for language, text in BLOCKS if language == "python"]
SHELL = [
    line for language, text in BLOCKS if not language for line in text.splitlines()
    if line.startswith(("fastreg ", "make "))
]  # fmt: skip

#: Samples that nothing here can run, each with the reason.
NOT_HERE = {"dask.distributed": "needs a scheduler on another machine"}


def test_the_samples_are_found():
    assert len(SAMPLES) >= 4
    assert len(SHELL) >= 6
    for words in NOT_HERE:
        assert sum(words in text for text in SAMPLES) == 1


@pytest.mark.parametrize("text", SAMPLES, ids=lambda text: text.splitlines()[0][:40])
def test_a_sample_runs_as_printed(text, tmp_path):
    for words, reason in NOT_HERE.items():
        if words in text:
            pytest.skip(reason)
    if "fastreg.lab" in text or "fastreg.sklearn" in text:
        pytest.importorskip("sklearn", reason="needs the extra 'lab' or 'sklearn'")
    if "fastreg.torch" in text:
        pytest.importorskip("torch", reason="needs the extra 'torch'")
    arguments = [sys.executable, "-W", "error", "-c", text]
    if "jobs=" in text:  # joblib's own warnings of a small machine are not the sample's
        arguments[1:3] = []
    ran = subprocess.run(
        arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("line", SHELL)
def test_a_command_is_one(line):
    """Commands of the lab take their arguments; targets of make exist."""
    command, *arguments = shlex.split(line, comments=True)
    if arguments[-1] == "--help":
        with pytest.raises(SystemExit, match="0"):
            parser().parse_args(arguments)
    elif command == "fastreg":
        assert parser().parse_args(arguments).command.__name__ == arguments[0]
    else:
        makefile = README.with_name("Makefile").read_text("utf-8")
        assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
