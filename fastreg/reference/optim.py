"""Optimizers, one textbook loop each."""

import math

import numpy as np

__all__ = ["Adam"]


class Adam:
    """Adam (Kingma & Ba, 2015), with the bias corrections folded into two step scalars.

    The chapter writes ``theta -= lr * (m / bc1) / (sqrt(v / bc2) + epsilon)``. Multiplying the
    fraction by ``sqrt(bc2)`` gives the same number with one division an element.
    """

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.lr, self.beta1, self.beta2, self.epsilon = learning_rate, beta1, beta2, epsilon
        self.m, self.v, self.t = {}, {}, 0

    def update(self, params, grads):
        """Advance one step; arrays change in place, scalar entries are replaced."""
        self.t += 1
        root_bc2 = math.sqrt(1.0 - self.beta2**self.t)
        step_size = self.lr * root_bc2 / (1.0 - self.beta1**self.t)
        epsilon = self.epsilon * root_bc2
        for name in params if isinstance(params, dict) else range(len(params)):
            theta, g = params[name], grads[name]
            m = self.m.get(name, np.zeros_like(theta, subok=False))
            v = self.v.get(name, np.zeros_like(theta, subok=False))
            m = self.beta1 * m + (1.0 - self.beta1) * g
            v = self.beta2 * v + (1.0 - self.beta2) * (g * g)
            self.m[name], self.v[name] = m, v
            params[name] -= step_size * m / (np.sqrt(v) + epsilon)
