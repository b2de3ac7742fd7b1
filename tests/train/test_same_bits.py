"""A whole training run has the same bits for every level, thread count and compiler."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import harness
import numpy as np
import pytest

import fastreg
from fastreg import nn, train
from fastreg.callbacks import Callback

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import make_steps  # noqa: E402

HASHES = json.loads(make_steps.FILE.read_text())
TREE = GOLDEN.parent.parent


def test_every_activation_and_loss_has_a_golden_run():
    activations = {one.split()[0] for one in HASHES}
    made = {type(make_steps.ACTIVATIONS[name]()).__name__ for name in activations}
    assert made == set(nn.activations.__all__)
    assert {one.split()[1] for one in HASHES} == set(nn.losses.__all__)
    assert {one.split()[2] for one in HASHES} == {"float32", "float64"}


@pytest.mark.parametrize("run", HASHES)
def test_checkpoints_of_whole_runs_are_golden(run, level, threads):
    assert make_steps.hash_of(*run.split()) == HASHES[run]


def test_files_of_two_runs_have_the_same_bytes_whatever_the_clock_said(tmp_path):
    """Saved within an epoch and after some; the clock runs, and its readings are in no file."""
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        rng = np.random.default_rng(0)
        X, y = rng.random((70, 5)).astype(np.float32), rng.integers(0, 3, 70)
        saved = SaveAt(17, path)
        run = train.Trainer(nn.mlp([5, 8, 3], rng=1), nn.softmax_cross_entropy, fastreg.Adam(),
                            rng=2, callbacks=[saved], progress=False)  # fmt: skip
        run.fit(X, y, epochs=4, batch_size=10)
        run.save(path.with_suffix(".end"))
        assert all(t > 0 for t in run.history["seconds"])
    for suffix in ("", ".end"):
        first, second = (path.with_suffix(suffix).read_bytes() for path in paths)
        assert first == second and b"seconds" not in first and b"ms_per_step" not in first


class SaveAt(Callback):
    """Save the run after a step."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.step == self.step:
            self.trainer.save(self.path)


@pytest.mark.parametrize("activation", ["Tanh", "Sigmoid", "GELU", "LeakyReLU"])
def test_steps_that_threads_share_have_the_bits_of_one_thread(activation, dtype, level, threads):
    """Layers large enough to be cut into tasks."""

    def train():
        rng = np.random.default_rng(3)
        X, y = rng.normal(size=(300, 32)).astype(dtype), rng.integers(0, 10, 300)
        model = nn.Sequential([
            nn.Dense(32, 300, rng=1, dtype=dtype), fastreg.BatchNorm(300),
            getattr(nn, activation)(), fastreg.Dropout(0.3, rng=4),
            nn.Dense(300, 10, rng=2, dtype=dtype),
        ])  # fmt: skip
        optimizer = fastreg.NAdam(1e-3)
        for _ in range(3):
            _, gradient = nn.softmax_cross_entropy(model.forward(X), y)
            model.backward(gradient)
            optimizer.update(model.params, model.grads)
        return model.params

    found = train()
    with harness.at_level(_highest()), fastreg.num_threads(1):
        expected = train()
    for name in expected:
        harness.same_bits(found[name], expected[name])


def _highest():
    from fastreg._core import _kernels

    return _kernels.levels()[-1]


def test_another_compiler_gives_the_same_runs(tmp_path):
    """FASTREG_TEST_COMPILER=clang builds a copy of the tree with it; that takes minutes."""
    compiler = os.environ.get("FASTREG_TEST_COMPILER", "")
    if not shutil.which(compiler) or not (TREE / "csrc").exists():
        pytest.skip("FASTREG_TEST_COMPILER names no compiler, or there are no sources")
    copy = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".git", "build", "*.so", "*.pyd", "__pycache__")
    shutil.copytree(TREE, copy, ignore=ignored)
    environment = {**os.environ, "CC": compiler, "PYTHONPATH": str(copy)}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, cwd=copy, env=environment, check=True)
    script = [sys.executable, "tests/golden/make_steps.py", "--print"]
    output = subprocess.run(script, cwd=copy, env=environment, check=True, capture_output=True)
    assert json.loads(output.stdout) == HASHES
