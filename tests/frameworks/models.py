"""Parameters and gradients that are the same for all who take part."""

import pytest

torch = pytest.importorskip("torch")
SHAPES = [(3, 4), (5,), (), (2, 3, 2, 2), (300, 70)]


def parameters(dtype=torch.float64, seed=0, shapes=SHAPES):
    rng = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, dtype=dtype, generator=rng)) for s in shapes]


def twins(dtype=torch.float64, shapes=SHAPES):
    return parameters(dtype, shapes=shapes), parameters(dtype, shapes=shapes)


def give(k, *models, missing=False):
    """The same gradients to all, new in each step; with ``missing`` some have none."""
    for i, group in enumerate(zip(*models, strict=True)):
        rng = torch.Generator().manual_seed(1000 * k + i)
        grad = torch.randn(group[0].shape, dtype=torch.float64, generator=rng)
        for p in group:
            p.grad = None if missing and (k + i) % 3 == 0 else grad.to(p.dtype).clone()


def assert_same(ours, theirs, rtol=1e-11, atol=1e-13):
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=atol)
