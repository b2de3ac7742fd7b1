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


@pytest.mark.parametrize("first", ["torch", "fastreg"])
def test_either_may_be_imported_first_and_one_openmp_runtime_is_there(first):
    second = {"torch": "fastreg", "fastreg": "torch"}[first]
    code = f"""
import {first}, {second}
import torch, fastreg.torch
p = torch.nn.Parameter(torch.ones(300000))
p.grad = torch.ones(300000)
fastreg.torch.Adam([p], lr=0.5).step()
assert torch.equal(p, torch.full_like(p, 0.5)), p
import pathlib
maps = pathlib.Path("/proc/self/maps")
words = maps.read_text().split() if maps.exists() else []
print(len({{w for w in words if "omp" in w.rsplit("/", 1)[-1] and ".so" in w}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout) <= 1
