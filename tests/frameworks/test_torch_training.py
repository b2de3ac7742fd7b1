"""Whole trainings in torch, with and without fastreg's modules and optimizers."""

import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import fastreg.torch as fast  # noqa: E402

nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:.*nested:UserWarning")


def convolutions(p):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(p),
        nn.Conv2d(4, 8, 3),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(p),
        nn.Linear(8 * 4, 4),
    )


class Transformer(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.read = nn.Linear(6, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=p, batch_first=True, norm_first=True)
        self.encode = nn.TransformerEncoder(layer, 2)
        self.write = nn.Linear(8, 4)

    def forward(self, x):
        return self.write(self.encode(self.read(x.flatten(1).view(len(x), 6, 6))).mean(1))


def losses(make, p, accelerated, seed=0, steps=200, dtype=torch.float64):
    torch.manual_seed(seed)
    model = make(p).to(dtype)
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 4, 64))
    x = torch.from_numpy(rng.standard_normal((4, 1, 6, 6))[y] + rng.standard_normal((64, 1, 6, 6)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    if accelerated:
        assert fast.accelerate(model).swapped
        optimizer = fast.AdamW(model.parameters(), lr=3e-3)
    result = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(dtype)), y)
        loss.backward()
        optimizer.step()
        result.append(loss.item())
    return np.array(result)


@pytest.mark.parametrize("make", [convolutions, Transformer])
def test_without_dropout_a_training_is_the_same(make):
    ours, theirs = losses(make, 0.0, True), losses(make, 0.0, False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert theirs[-1] < theirs[0] / 2


@pytest.mark.parametrize("make", [convolutions, Transformer])
def test_with_dropout_it_is_the_same_in_distribution(make):
    runs = {}
    for accelerated in (True, False):
        rows = [losses(make, 0.3, accelerated, seed, steps=60)[30:].mean() for seed in range(12)]
        runs[accelerated] = np.array(rows)
    difference = runs[True] - runs[False]  # the same initial weights, other masks
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(len(difference)) + 0.01


def in_a_child(work):
    """Run something in a forked child; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_between_steps():
    p = nn.Parameter(torch.randn(400, 1000))
    optimizer, layer = fast.AdamW([p]), fast.Dropout(0.5)

    def step():
        p.grad = layer(p).detach()
        optimizer.step()

    for _ in range(3):
        step()
        assert in_a_child(step) == 0
    step()
    assert optimizer.state[p]["step"] == 4


PROGRAM = """
import warnings
import {first}, {second}
import fastreg.torch, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are what this is about


class Rows(TensorDataset):
    def __getitem__(self, i):  # a kernel of fastreg's in the worker, on a team of its own
        x, y = super().__getitem__(i)
        return fastreg.torch.LayerNorm(512)(x.expand(300, -1))[0].detach(), y


if __name__ == "__main__":
    torch.manual_seed(0)
    x, y = torch.randn(512, 512), torch.randint(0, 4, (512,))
    model = nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 4)
    )
    fastreg.torch.accelerate(model)
    optimizer = fastreg.torch.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loader = DataLoader(Rows(x, y), 128, num_workers=2, multiprocessing_context="fork")
        for xs, ys in loader:
            loss = nn.functional.cross_entropy(model(xs), ys)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    print("losses", losses)
    fastreg.show_config()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_either_may_be_imported_first_and_workers_may_be_forked_in_between(tmp_path):
    """No OpenMP runtime comes with fastreg, so there is none beside torch's own."""
    losses = set()
    for first, second in (("torch", "fastreg"), ("fastreg", "torch")):
        script = tmp_path / f"{first}_first.py"
        script.write_text(PROGRAM.format(first=first, second=second))
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = dict(line.split(None, 1) for line in done.stdout.splitlines() if " " in line)
        losses.add(said["losses"])
        if "OpenMP" in said:
            runtimes = said["OpenMP"].removeprefix("runtimes").strip().split(", ")
            assert not [path for path in runtimes if "fastreg" in path]
            assert len(runtimes) == 1
    assert len(losses) == 1
