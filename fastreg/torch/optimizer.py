"""What turns a class of torch.optim into a fast one: its step, and what the pass can do besides."""

from __future__ import annotations

import fnmatch
import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
import torch.optim.optimizer as hooks  # where the hooks of all optimizers are

from fastreg._core import checks
from fastreg._core._kernels import Part, TensorSteps, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Fused"]

RULES: dict[str, int] = {name: k for k, name in enumerate(rules())}

#: Key of a parameter group, what it is called here, default, place in the entry or -1.
FIELDS: list[tuple[str, str, Any, int]] = [
    ("lr", "learning_rate", 0.0, -1),
    ("momentum", "momentum", 0.0, -1),
    ("dampening", "dampening", 0.0, -1),
    ("alpha", "beta", 0.0, -1),
    ("betas", "beta1", (0.0, 0.0), 0),
    ("betas", "beta2", (0.0, 0.0), 1),
    ("rho", "rho", 0.0, -1),
    ("eps", "epsilon", 0.0, -1),
    ("momentum_decay", "momentum_decay", 0.0, -1),
    ("lr_decay", "lr_decay", 0.0, -1),
    ("weight_decay", "weight_decay", 0.0, -1),
    ("lambda_l1", "lambda_l1", 0.0, -1),
    ("lambda_l2", "lambda_l2", 0.0, -1),
    ("clip_value", "clip_value", math.inf, -1),
    ("ema_decay", "ema_decay", 0.0, -1),
]

#: Bounds of what a group may hold beside torch's own entries.
EXTRAS: dict[str, dict[str, Any]] = {
    "lambda_l1": {"low": 0.0},
    "lambda_l2": {"low": 0.0},
    "clip_value": {"low": 0.0, "open_low": True},
    "ema_decay": {"low": 0.0, "high": 1.0, "open_high": True},
}
SETTINGS = ("clip_norm", "exclude", "on_nonfinite")
DISPATCH: Any = getattr(torch.Tensor, "__torch_dispatch__")  # noqa: B009


class Fused(torch.optim.Optimizer):
    """The step of all optimizers of this package, before the torch class whose arguments it takes.

    See :mod:`fastreg.torch` for the keyword arguments beyond torch's.
    """

    _counts = True  # whether the state has a count of steps
    _memory: str | None = None  # the entry that holds a rule's number from step to step
    _skipped: int = 0  # before the last load

    def __init__(
        self,
        *args: Any,
        lambda_l1: float | None = None,
        lambda_l2: float | None = None,
        l1_mode: str | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        clip_norm: float | None = None,
        exclude: Sequence[str] | Callable[[torch.Tensor], bool] = (),
        on_nonfinite: str = "propagate",
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        extras = {
            "lambda_l1": lambda_l1,
            "lambda_l2": lambda_l2,
            "clip_value": clip_value,
            "ema_decay": ema_decay,
            "l1_mode": l1_mode,
        }
        self._own_defaults = {key: v for key, v in extras.items() if v is not None}
        checked_extras(name, self._own_defaults)
        if clip_norm is not None:
            clip_norm = checks.number(name, "clip_norm", clip_norm, low=0.0, open_low=True)
        checks.choice(name, "on_nonfinite", on_nonfinite, ("propagate", "skip", "raise"))
        patterns = exclude if callable(exclude) else checks.items(exclude)
        if patterns is None or not (
            callable(patterns) or all(isinstance(p, str) for p in patterns)
        ):
            raise TypeError(
                f"{name}: exclude must be a function of a parameter or a list of name patterns, "
                f"got {checks.shown(exclude)}"
            )
        self._settings: dict[str, Any] = dict(
            clip_norm=clip_norm, exclude=patterns, on_nonfinite=on_nonfinite, swapped=False
        )
        super().__init__(*args, **kwargs)
        self._step_supports_amp_scaling = False  # GradScaler unscales the gradients first
        for group in self.param_groups:
            self._check_group(group)

    # What a class says of its rule ---------------------------------------------------------

    def _rule(self, group: dict[str, Any]) -> str:
        """The rule of a group."""
        raise NotImplementedError

    def _keys(self, rule: str) -> tuple[str, ...]:
        """The entries of the state that are a rule's slots, in its order."""
        raise NotImplementedError

    def _is_coupled(self, group: dict[str, Any]) -> bool:
        """Whether weight_decay is added to the gradient."""
        return not group.get("decoupled_weight_decay", False)

    def _rule_of(self, group):
        return RULES[self._rule(group)], self._is_coupled(group)

    # torch's own methods -------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own, as in torch; they may be fastreg's, too."""
        self.defaults.update(self._own_defaults)
        if isinstance(param_group, dict):
            own = {key: param_group[key] for key in (*EXTRAS, "l1_mode") if key in param_group}
            checked_extras(type(self).__name__, own)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            for i, p in enumerate(group["params"]):
                if p.requires_grad:
                    self._check_tensor(p, self._place(len(self.param_groups) - 1, i))
        except BaseException:
            self.param_groups.pop()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {
            "fastreg": (self._own_defaults, self._settings, self.skipped)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        own, skipped = state.pop("fastreg", None), self.skipped
        if own is not None:
            self._own_defaults, self._settings, skipped = own
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in self._own_defaults.items():
                group.setdefault(key, value)
        self.__dict__.pop("_steps", None)
        self._skipped = skipped

    def state_dict(self) -> dict[str, Any]:
        """The state in torch's form; its class of the same name goes on from it, and back.

        Raises
        ------
        RuntimeError
            If parameters and averages have changed places (``swap_ema``).
        """
        if self._settings["swapped"]:
            raise RuntimeError(
                f"{type(self).__name__}.state_dict: parameters and averages have changed places; "
                "call swap_ema() once more first"
            )
        return super().state_dict()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; everything is checked before the first parameter is changed.

        Parameters
        ----------
        closure : callable, optional
            Computes the gradients anew and returns the loss, which is then returned.

        Raises
        ------
        TypeError, ValueError
            If a parameter or gradient is not a dense float32 or float64 tensor on the CPU.
        FloatingPointError
            If a gradient is not finite and ``on_nonfinite="raise"``.
        RuntimeError
            If parameters and averages have changed places (``swap_ema``).
        """
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or hooks._global_optimizer_pre_hooks
            or hooks._global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()  # pyright: ignore[reportPrivateImportUsage]
        ):
            return self._hooked_step(closure)
        return self._plain_step(closure)

    # torch's wrapper takes 8 us for hooks that are not there
    step.hooked = True  # type: ignore[attr-defined]

    def _plain_step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        steps = self.__dict__.get("_steps") or self._new_steps()
        if self._settings["swapped"]:
            raise RuntimeError(
                f"{type(self).__name__}.step: parameters and averages have changed places; call "
                "swap_ema() once more first"
            )
        for _ in range(8):
            if steps.step(self.param_groups, self.state):
                return loss
            steps.bind(self._parts(), len(self.param_groups), self.state)
        raise RuntimeError(f"{type(self).__name__}.step: parameters change while it looks at them")

    _hooked_step = torch.optim.Optimizer.profile_hook_step(_plain_step)

    # What fastreg adds ---------------------------------------------------------------------

    @property
    def grad_norm(self) -> float:
        """Norm of the last gradients, if clip_norm or on_nonfinite asked for it; else NaN."""
        steps = self.__dict__.get("_steps")
        return math.nan if steps is None else steps.grad_norm

    @property
    def skipped(self) -> int:
        """Steps skipped because a gradient was not finite."""
        steps = self.__dict__.get("_steps")
        return self._skipped + (0 if steps is None else steps.skipped)

    @torch.no_grad()
    def swap_ema(self) -> None:
        """Exchange the parameters with their averages, in place.

        Call it before an evaluation and again after it; no step is possible in between.

        Raises
        ------
        RuntimeError
            If there are no averages: they need ``ema_decay`` and a step.
        """
        pairs = [
            (p, self.state[p]["ema"])
            for group in self.param_groups
            for p in group["params"]
            if p in self.state and "ema" in self.state[p]
        ]
        if not pairs:
            raise RuntimeError(
                f"{type(self).__name__}.swap_ema: needs ema_decay= and at least one step first"
            )
        for p, average in pairs:
            kept = p.clone()
            p.copy_(average)
            average.copy_(kept)
        self._settings["swapped"] = not self._settings["swapped"]

    # How a step finds its tensors ----------------------------------------------------------

    def _new_steps(self):
        name = type(self).__name__
        steps = TensorSteps(
            name,
            torch.Tensor.__dlpack_c_exchange_api__,
            [field for field in FIELDS if field[0] in self.defaults | EXTRAS],
            self._rule_of,
            self._laid_out,
            torch.autograd.graph.increment_version,
        )
        steps.clip_norm = self._settings["clip_norm"] or 0.0
        steps.on_nonfinite = self._settings["on_nonfinite"]
        self._steps = steps
        return steps

    @torch.no_grad()
    def _parts(self):
        """All parameters that have a gradient or state, with it."""
        parts: list[Part] = []
        new: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        for g, group in enumerate(self.param_groups):
            self._check_group(group)
            rule = self._rule(group)
            keys = self._keys(rule) + (("ema",) if group.get("ema_decay") is not None else ())
            for i, p in enumerate(group["params"]):
                state = self.state.get(p)
                if p.grad is None and not state:
                    continue
                where = self._place(g, i)
                self._check_tensor(p, where)
                joins = state is None
                if id(p) in new:  # the same parameter twice
                    state, fresh = new[id(p)]
                else:
                    state = {} if state is None else state
                    fresh = self._fresh(p, state, keys)
                    new[id(p)] = state, fresh
                parts.append(
                    Part(
                        where,
                        p,
                        g,
                        RULES[rule],
                        not self._is_exempt(group, i, where),
                        state,
                        joins,
                        fresh or None,
                        keys,
                        "step" if self._counts else None,
                        self._memory,
                    )
                )
        return parts

    def _fresh(self, p, state, keys):
        """What a parameter's state lacks; what has another layout is laid out anew."""
        fresh = {}
        double = torch.get_default_dtype() == torch.float64
        numbers = {"step": 0.0} if self._counts else {}
        numbers |= {self._memory: 1.0} if self._memory is not None else {}
        for key, first in numbers.items():
            known = state.get(key, first)
            if not is_number(known):
                known = torch.tensor(float(known), dtype=torch.float64 if double else torch.float32)
                if key in state:
                    state[key] = known
                else:
                    fresh[key] = known
        for key in keys:
            known = state.get(key)
            if known is None:
                like = p.clone if key == "ema" else lambda: torch.zeros_like(p)
                fresh[key] = like().detach()
            elif known.shape != p.shape or known.device != p.device or known.dtype != p.dtype:
                raise ValueError(
                    f"{type(self).__name__}.step: state {key!r} must have its parameter's shape "
                    f"{tuple(p.shape)} and {p.dtype}, got {tuple(known.shape)} and {known.dtype}; "
                    "load a state_dict after converting the model, or make a new optimizer"
                )
            elif known.stride() != p.stride():
                state[key] = torch.empty_like(p).copy_(known)
        return fresh

    def _laid_out(self, where, grad, param):
        """A copy of a gradient in its parameter's layout."""
        name = type(self).__name__
        if grad.layout != torch.strided:
            raise TypeError(
                f"{name}.step: the gradient of {where} must be dense, got {grad.layout}; use "
                f"torch.optim.{name}, or sparse=False in the embedding"
            )
        if grad.dtype != param.dtype or grad.device != param.device:
            raise TypeError(
                f"{name}.step: the gradient of {where} must be {param.dtype} on {param.device}, "
                f"got {grad.dtype} on {grad.device}"
            )
        with torch.no_grad():
            return torch.empty_like(param).copy_(grad)

    def _place(self, g, i):
        group = self.param_groups[g]
        names = group.get("param_names")
        named = f" ({names[i]!r})" if names else ""
        return f"parameter {i}{named} of group {g}"

    def _check_group(self, group):
        name = type(self).__name__
        for flag in ("differentiable", "capturable"):
            if group.get(flag):
                raise ValueError(
                    f"{name}: {flag} must be False, got True; use torch.optim.{name} for that"
                )

    def _check_tensor(self, p, where):
        name = type(self).__name__
        if type(p).__torch_dispatch__ is not DISPATCH:
            got = f"a {type(p).__name__}"
        elif p.layout != torch.strided:
            got = str(p.layout)
        elif p.device.type != "cpu":
            got = f"one on {p.device}"
        elif p.dtype not in (torch.float32, torch.float64):
            got = str(p.dtype)
        elif p.is_neg():
            got = "one that is negated where it is read"
        elif not is_compact(p):
            got = f"strides {p.stride()} for shape {tuple(p.shape)}"
        else:
            return
        raise TypeError(
            f"{name}: {where} must be a contiguous float32 or float64 tensor on the CPU, got "
            f"{got}; use torch.optim.{name} for such parameters"
        )

    def _is_exempt(self, group, i, where):
        """Whether decay and penalties leave a parameter alone."""
        exclude = self._settings["exclude"]
        if callable(exclude):
            return bool(exclude(group["params"][i]))
        if exclude and "param_names" not in group:
            raise ValueError(
                f"{type(self).__name__}: exclude has patterns of names, but {where} has none; pass "
                "model.named_parameters(), or a function of the parameter"
            )
        return any(fnmatch.fnmatchcase(group["param_names"][i], pattern) for pattern in exclude)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a class the signature of its torch class, and the keywords that are added."""
        super().__init_subclass__(**kwargs)
        theirs = inspect.signature(cls.__mro__[2])
        ours = inspect.signature(Fused.__init__).parameters.values()
        added = [p for p in ours if p.kind is p.KEYWORD_ONLY]
        signature = theirs.replace(parameters=[*theirs.parameters.values(), *added])
        cls.__signature__ = signature  # type: ignore[attr-defined]


def is_number(value: Any) -> bool:
    """Whether an entry is a tensor that can count."""
    return (
        isinstance(value, torch.Tensor)
        and value.dtype in (torch.float32, torch.float64)
        and value.numel() == 1
        and value.device.type == "cpu"
    )


def is_compact(p: torch.Tensor) -> bool:
    """Whether a tensor is contiguous in some order of its axes."""
    if p.is_contiguous():
        return True
    order = sorted(range(p.ndim), key=p.stride().__getitem__, reverse=True)
    return p.permute(order).is_contiguous()


def checked_extras(where: str, extras: dict[str, Any]) -> None:
    """Check what a group may hold beside torch's own entries."""
    for key, value in extras.items():
        if key == "l1_mode":
            checks.choice(where, key, value, ("subgradient", "prox"))
        elif not (key == "clip_value" and value == math.inf):
            checks.number(where, key, value, **EXTRAS[key])
