"""The same over real MPI, in processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py", exc_type=ImportError)
HERE = Path(__file__).parent
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
SCRIPT = """
import sys
from mpi4py import MPI
import test_ranks

test_ranks.train(MPI.COMM_WORLD, sys.argv[1], optimizer=sys.argv[2])
"""
DIES = """
import sys
from mpi4py import MPI
import fastreg, test_ranks

class Fail(fastreg.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if MPI.COMM_WORLD.rank == 1 and self.trainer.step == 5:
            raise RuntimeError("no more")

saving = fastreg.callbacks.Checkpoint(sys.argv[1])
test_ranks.train(MPI.COMM_WORLD, callbacks=[saving, Fail()])
"""
TOLD = """
import os, signal, sys
from mpi4py import MPI
import fastreg, test_ranks

class Told(fastreg.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if MPI.COMM_WORLD.rank == 1 and self.trainer.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

run = test_ranks.train(MPI.COMM_WORLD, sys.argv[1], callbacks=[Told()])
assert (run.step, run.stop_reason) == (5, "interrupt"), (run.step, run.stop_reason)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""


def mpi(size, script, path, *more):
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec")
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_ALLOW_RUN_AS_ROOT": "1",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    many = ["--oversubscribe"] if size > 2 else []
    command = [MPIEXEC, "-n", str(size), *many, sys.executable, "-c", script, str(path), *more]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("size", "optimizer"), [(2, "clipped"), (4, "clipped"), (2, "int8")])
def test_processes_have_the_bits_of_one(size, optimizer, tmp_path):
    import test_ranks

    test_ranks.train(None, tmp_path / "alone", optimizer=optimizer)
    done = mpi(size, SCRIPT, tmp_path / "some", optimizer)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "some").read_bytes() == (tmp_path / "alone").read_bytes()


def test_a_rank_that_fails_ends_the_job_and_leaves_the_last_checkpoint(tmp_path):
    import test_ranks

    done = mpi(2, DIES, tmp_path / "last")
    assert done.returncode
    assert done.stderr.count("rank 1 of 2 failed in step 5 and ends the job") == 1
    test_ranks.train(None, tmp_path / "rest", resume_from=tmp_path / "last")
    test_ranks.train(None, tmp_path / "whole")
    assert (tmp_path / "rest").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_rank_that_is_told_to_terminate_stops_all_after_that_step(tmp_path):
    import test_ranks

    done = mpi(2, TOLD, tmp_path / "some")
    assert done.returncode == 0, done.stderr
    test_ranks.train(None, tmp_path / "rest", resume_from=tmp_path / "some")
    test_ranks.train(None, tmp_path / "whole")
    assert (tmp_path / "rest").read_bytes() == (tmp_path / "whole").read_bytes()
