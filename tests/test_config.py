"""Thread counts and the configuration report."""

import io
import re
import subprocess
import sys
import threading

import pytest

import fastreg
from fastreg import config


def test_threads_can_be_set_and_restored():
    automatic = fastreg.get_num_threads()
    fastreg.set_num_threads(3)
    assert fastreg.get_num_threads() == 3
    with fastreg.num_threads(1):
        with fastreg.num_threads(5):
            assert fastreg.get_num_threads() == 5
            with fastreg.num_threads(None):
                assert fastreg.get_num_threads() == automatic
        assert fastreg.get_num_threads() == 1
    assert fastreg.get_num_threads() == 3
    fastreg.set_num_threads(None)
    assert fastreg.get_num_threads() == automatic


def how():
    shown = io.StringIO()
    fastreg.show_config(file=shown)
    return re.search("chosen +(.*)", shown.getvalue())[1]


def test_none_gives_the_choice_back():
    """Setting the number that is in use does not: it fixes it."""
    if how().startswith("one, built"):
        pytest.skip("built without threads")
    assert how().startswith("for each call")
    fastreg.set_num_threads(fastreg.get_num_threads())
    try:
        assert how().startswith("as asked for")
        with fastreg.num_threads(None):
            assert how().startswith("for each call")
        assert how().startswith("as asked for")
    finally:
        fastreg.set_num_threads(None)
    assert how().startswith("for each call")


def test_the_context_holds_for_its_own_thread():
    seen = []
    with fastreg.num_threads(7):
        worker = threading.Thread(target=lambda: seen.append(fastreg.get_num_threads()))
        worker.start()
        worker.join()
    assert seen == [fastreg.get_num_threads()]


def test_the_context_is_left_when_an_error_passes():
    before = fastreg.get_num_threads()
    with pytest.raises(KeyError), fastreg.num_threads(before + 1):
        raise KeyError
    assert fastreg.get_num_threads() == before


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_control_group_quota(files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(config, "CGROUP", str(tmp_path))
    assert config._quota_cores() == cores


@pytest.mark.parametrize(
    ("asked", "usable", "quota", "threads"),
    [
        ("", 8, None, 8), ("4", 8, None, 4), ("16", 8, None, 8), ("4,2", 8, 3, 3),
        ("", 8, 2, 2), ("0", 8, None, 8), ("many", 4, None, 4), (" 2 ", 4, 9, 2),
    ],
)  # fmt: skip
def test_default_is_the_smallest_limit(asked, usable, quota, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(config, "_usable_cores", lambda: usable)
    monkeypatch.setattr(config, "_quota_cores", lambda: quota)
    assert config._default_threads() == threads


def test_show_config_reports_level_and_threads():
    text = io.StringIO()
    with fastreg.num_threads(6):
        fastreg.show_config(file=text)
    lines = dict(line.split(None, 1) for line in text.getvalue().splitlines())
    assert lines["fastreg"] == fastreg.__version__
    assert lines["threads"] == "6"
    assert "base" in lines["instruction"]


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        (["/lib/libgomp.so.1", "/a b/libomp-1f.so.5", "/lib/libgomp.so.1"],
         ["/a b/libomp-1f.so.5, /lib/libgomp.so.1"]),
        (["/lib/libc.so.6"], ["none in this process"]),
        ([], []),
    ],
)  # fmt: skip
def test_show_config_names_the_team_and_other_runtimes(loaded, words, tmp_path, monkeypatch):
    maps = tmp_path / "maps"
    maps.write_text("".join(f"7f00-7f01 r-xp 00000000 08:01 42   {path}\n" for path in loaded))
    monkeypatch.setattr(config, "MAPS", str(maps))
    text = io.StringIO()
    fastreg.show_config(file=text)
    assert re.findall("OpenMP runtimes +(.*)", text.getvalue()) == words
    if not how().startswith("one, built"):
        assert re.search("team +fastreg's own, [0-9]+ helpers? started", text.getvalue())


def test_every_public_name_is_there_whether_loaded_or_not():
    code = "from fastreg import *; import fastreg; print({*fastreg.__all__} <= {*dir()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert set(fastreg.__all__) <= set(dir(fastreg))
    with pytest.raises(AttributeError, match="module 'fastreg' has no attribute 'dropuot'"):
        fastreg.dropuot  # noqa: B018
