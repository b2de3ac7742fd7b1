"""How many threads there may be: quotas, limits, affinity, and no room for any."""

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from fresh import BUILT, GLIBC, LINUX, WORK, python

from fastreg import config


@LINUX
@BUILT
def test_no_room_for_threads_means_one(alone):
    """Without address space for a stack no thread starts; once there is room, one does."""
    code = WORK + textwrap.dedent("""
        import resource, fastreg
        fastreg.set_num_threads(2)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
        bits = work()
        info = fastreg._core._kernels.team_info()
        assert info["refused"] and info["helpers"] == 0, info
        import io
        text = io.StringIO()
        fastreg.show_config(file=text)
        assert "the system refuses to start more" in text.getvalue()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        import time
        time.sleep(0.2)
        assert bits == work()
        info = fastreg._core._kernels.team_info()
        assert not info["refused"] and info["helpers"] == 1, info
        print(bits)
    """)
    command = f"ulimit -S -s 1000000; exec {sys.executable} -c '{code}'"
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == alone


GROUPS = {  # /proc/self/cgroup, files under the mount, cores
    "v2, own group": ("0::/app", {"app/cpu.max": "150000 100000"}, 2),
    "v2, the smallest of all around": (
        "0::/pod/app/job",
        {"pod/cpu.max": "max 100000", "pod/app/cpu.max": "300000 100000",
         "pod/app/job/cpu.max": "900000 100000"},
        3,
    ),
    "v2 beside v1": ("3:cpuset:/\n0::/x", {"unified/x/cpu.max": "50000 100000"}, 1),
    "v1, nested": (
        "5:memory:/m\n4:cpu,cpuacct:/slurm/job7",
        {"cpu,cpuacct/slurm/job7/cpu.cfs_quota_us": "-1",
         "cpu,cpuacct/slurm/job7/cpu.cfs_period_us": "100000",
         "cpu,cpuacct/slurm/cpu.cfs_quota_us": "250000",
         "cpu,cpuacct/slurm/cpu.cfs_period_us": "100000"},
        3,
    ),
    "v1, the container's own group is the root": (
        "4:cpu:/docker/0a1b",
        {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "50000"},
        4,
    ),
    "another controller": ("4:cpuset:/x", {"cpu/x/cpu.cfs_quota_us": "1"}, None),
    "none": ("0::/x", {}, None),
    "nonsense": ("what", {"cpu.max": "many"}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUPS)
def test_quota_of_the_process_and_all_around_it(case, tmp_path, monkeypatch):
    own, files, cores = GROUPS[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    monkeypatch.setattr(config, "CGROUP", str(tmp_path))
    monkeypatch.setattr(config, "OWN_GROUPS", str(tmp_path / "own"))
    assert config._quota_cores() == cores


@pytest.mark.parametrize(("limit", "threads"), [("1", 1), ("3", 3), ("99", 4), ("", 4), ("x", 4)])
def test_openmp_thread_limit(limit, threads, monkeypatch):
    monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(config, "_usable_cores", lambda: 4)
    monkeypatch.setattr(config, "_quota_cores", lambda: None)
    assert config._default_threads() == threads


@LINUX
@BUILT
@pytest.mark.skipif(config._usable_cores() < 2, reason="one core")
@pytest.mark.parametrize("first", ["fastreg", "sklearn.ensemble", "torch"])
def test_bound_openmp_threads_leave_us_our_cores(first, alone):
    """A runtime that binds the main thread to one core does not bind the team."""
    for needed in (first.split(".")[0], "sklearn"):
        pytest.importorskip(needed)
    code = f"""
        import {first}
        import sklearn.ensemble
        import fastreg
        fastreg.set_num_threads(2)
        bits = work()
        mine = os.sched_getaffinity(0)
        print(bits, fastreg._core._kernels.num_threads(), fastreg.config._default_threads())
        helpers = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
        assert len(mine) == 1, "the runtime was to bind the main thread"
        assert any(len(cores) > 1 for cores in helpers), helpers
    """
    bits, asked, threads = python(code, OMP_PROC_BIND="true").split()
    assert (bits, asked) == (alone, "2")
    assert int(threads) == config._default_threads()


@GLIBC
def test_libraries_named_like_openmp_do_no_harm(tmp_path, monkeypatch):
    """Replaced on the disk, without OpenMP's functions, in a folder with a space."""
    monkeypatch.setenv("OMP_PLACES", "cores")
    lines = [line.split(maxsplit=5) for line in config._read("/proc/self/maps").splitlines()]
    some = next(
        line[5] for line in lines if len(line) > 5 and os.path.basename(line[5]) == "libm.so.6"
    )
    trace = tmp_path / "a folder" / "libompitrace.so.40"
    trace.parent.mkdir()
    shutil.copy(some, trace)
    start = "7f0000000000-7f0000001000 r-xp 00000000 00:20 1 "
    maps = [
        start,
        start + str(trace),
        start + f"{tmp_path}/libgomp.so.1 (deleted)",
        start + "[heap]",
    ]
    monkeypatch.setattr(config, "_read", lambda path: "\n".join(maps))
    opened = []
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", lambda path: (opened.append(path), load(path))[1])
    assert config._unbound_cores() == set()
    assert opened == [str(trace), f"{tmp_path}/libgomp.so.1 (deleted)"]


def test_a_machine_of_more_cores_than_the_team_has_lanes():
    code = """
        import fastreg
        fastreg._core._kernels.set_team(100_000, 0, b"")
        print(fastreg.get_num_threads())
    """
    assert python(code) == "1024"


@LINUX
def test_affinity_is_kept(alone):
    code = """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import fastreg
        print(fastreg.get_num_threads(), work())
        fastreg.set_num_threads(3)
        work()
        for task in os.listdir("/proc/self/task"):
            assert len(os.sched_getaffinity(int(task))) == 1
    """
    assert python(code) == f"1 {alone}"
