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
from fastreg.torch.dropout import draw
from fastreg.torch.groups import (
    EXTRAS,
    FIELDS,
    FLAGS,
    checked_extras,
    checked_groups,
    checked_state,
    refused,
)
from fastreg.torch.state import (
    HALVES,
    checked_entry,
    checked_parameter,
    fresh_entries,
    laid_out,
    restored,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Fused"]

RULES: dict[str, int] = {name: k for k, name in enumerate(rules())}

#: What a rule's state has only since a setting was changed.
LATE = ("momentum_buffer", "max_exp_avg_sq", "grad_avg", "ema", "master")


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
        master: bool = False,
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
        self._settings["master"] = checks.flag(name, "master", master)
        super().__init__(*args, **kwargs)
        for entries in self.state.values():  # Adagrad's begins here
            entries.update({k: v.float() for k, v in entries.items() if v.dtype in HALVES})
        self._step_supports_amp_scaling = False  # GradScaler unscales the gradients first
        self._new_steps().check(self.param_groups)

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

    def _numbers(self):
        """The entries of the state that are numbers, and what they begin with."""
        numbers = {"step": 0.0} if self._counts else {}
        return numbers | ({} if self._memory is None else {self._memory: 1.0})

    def _is_mastered(self, group, p, where):
        """Whether a parameter has a master; one of 16 bits that is averaged must have one."""
        half = p.dtype in HALVES
        mastered = half and self._settings.get("master", False)
        if half and group.get("ema_decay") is not None and not mastered:
            raise TypeError(
                f"{type(self).__name__}: {where} must have 32 or 64 bits to have an average, got "
                f"{p.dtype}; give the optimizer master=True"
            )
        return mastered

    def _keys_of(self, group, p, where):
        """The entries of a parameter's state that are tensors like it."""
        mastered, averaged = self._is_mastered(group, p, where), group.get("ema_decay") is not None
        return self._keys(self._rule(group)) + ("ema",) * averaged + ("master",) * mastered

    # torch's own methods -------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own, as in torch; they may be fastreg's, too."""
        self.defaults.update(self._own_defaults)
        if isinstance(param_group, dict):
            if "params" not in param_group:
                raise ValueError(
                    f"{type(self).__name__}.add_param_group: param_group must have the key "
                    f"'params', got {checks.shown(list(param_group))}"
                )
            own = {key: param_group[key] for key in (*EXTRAS, "l1_mode") if key in param_group}
            checked_extras(type(self).__name__, own)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            if "_steps" in self.__dict__:  # torch's constructor has not had its say before
                self._steps.check(self.param_groups)
            for i, p in enumerate(group["params"]):
                if p.requires_grad:
                    place = self._place(len(self.param_groups) - 1, i)
                    checked_parameter(type(self).__name__, p, place)
                    self._is_mastered(group, p, place)
        except BaseException:
            self.param_groups.pop()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {
            "fastreg": (self._own_defaults, self._settings, self.skipped)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        own, skipped, before = state.pop("fastreg", None), self.skipped, dict(self.__dict__)
        try:
            if own is not None:
                self._own_defaults, self._settings, skipped = own
            else:
                self._take_floats(state)
                self._check_loaded(state)
            super().__setstate__(state)
            for group in self.param_groups:
                for key, value in self._own_defaults.items():
                    group.setdefault(key, value)
            self._skipped = skipped
            steps = self._new_steps()
            if own is None:
                steps.check(self.param_groups)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over, of this class or of torch's class of the same name.

        Parameters
        ----------
        state_dict : dict
            What ``state_dict`` returned.

        Raises
        ------
        TypeError, ValueError
            If it is no such state, or its settings or tensors do not fit; the optimizer is then
            as it was.
        """
        if not self._optimizer_load_state_dict_pre_hooks:  # which may take other forms
            checked_state(type(self).__name__, state_dict)
        kept = self.register_load_state_dict_pre_hook(self._keep_loading)
        try:
            super().load_state_dict(state_dict)
        finally:
            kept.remove()
            self.__dict__.pop("_loading", None)

    def _keep_loading(self, _, state_dict):
        """Keep what torch is about to load, as the hooks before have left it."""
        self._loading = state_dict

    def _take_floats(self, state):
        """Undo what loading has rounded, and leave masters that nobody keeps."""
        saved = self.__dict__.pop("_loading", None)
        if saved is not None:
            restored(state["state"], state["param_groups"], saved)
        for entries in state["state"].values():
            if isinstance(entries, dict) and not self._settings.get("master", False):
                entries.pop("master", None)

    def _check_loaded(self, state):
        """Check what torch's ``load_state_dict`` is about to take over."""
        where = f"{type(self).__name__}.load_state_dict"
        self._new_steps().check([self.defaults | group for group in state["param_groups"]])
        for g, group in enumerate(state["param_groups"]):
            for i, p in enumerate(group["params"]):
                keys = self._keys_of(self.defaults | group, p, self._place(g, i))
                place = f"{where}: the state of {self._place(g, i)}"
                entries = state["state"].get(p, {})
                checked_entry(place, p, entries, self._numbers(), keys, LATE)

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
            If a parameter or gradient is not a dense float tensor on the CPU.
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
        steps = self._steps
        if self._settings["swapped"]:
            raise RuntimeError(
                f"{type(self).__name__}.step: parameters and averages have changed places; call "
                "swap_ema() once more first"
            )
        for _ in range(8):
            key = draw() if steps.draws else 0
            if steps.step(self.param_groups, self.state, key):
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
        pairs = []
        for g, group in enumerate(self.param_groups):
            for i, p in enumerate(group["params"]):
                if p in self.state and "ema" in self.state[p]:
                    place = f"{type(self).__name__}.swap_ema: the state of {self._place(g, i)}"
                    half = ("master",) if p.dtype in HALVES else ()
                    checked_entry(place, p, self.state[p], {}, ("ema", *half), ())
                    pairs.append((p, self.state[p]["ema"], self.state[p].get("master")))
        if not pairs:
            raise RuntimeError(
                f"{type(self).__name__}.swap_ema: needs ema_decay= and at least one step first"
            )
        for p, average, master in pairs:
            live = p if p.dtype not in HALVES else master
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)
            if live is not p:  # the nearest; what is finite stays finite
                most = torch.finfo(p.dtype).max
                p.copy_(torch.where(live.isfinite(), live.clamp(-most, most), live))
        self._settings["swapped"] = not self._settings["swapped"]

    # How a step finds its tensors ----------------------------------------------------------

    def _new_steps(self):
        name = type(self).__name__
        steps = TensorSteps(
            name,
            torch.Tensor.__dlpack_c_exchange_api__,
            [field for field in FIELDS if field[0] in self.defaults | EXTRAS],
            [flag for flag in FLAGS if flag[0] in self.defaults],
            self._rule_of,
            refused,
            laid_out,
            torch.autograd.graph.increment_version,
        )
        steps.clip_norm = self._settings["clip_norm"] or 0.0
        steps.on_nonfinite = self._settings["on_nonfinite"]
        self._steps = steps
        return steps

    @torch.no_grad()
    def _parts(self):
        """All parameters that have a gradient or state, with it."""
        name = type(self).__name__
        numbers = self._numbers()
        checked_groups(name, self.param_groups)
        self._steps.check(self.param_groups)
        parts: list[Part] = []
        new: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        for g, group in enumerate(self.param_groups):
            rule = self._rule(group)
            for i, p in enumerate(group["params"]):
                where = self._place(g, i)
                state = self.state.get(p) if isinstance(p, torch.Tensor) else None
                if isinstance(p, torch.Tensor) and p.grad is None and not state:
                    continue
                checked_parameter(name, p, where)
                keys = self._keys_of(group, p, where)
                joins = state is None
                if id(p) in new:  # the same parameter twice
                    state, fresh = new[id(p)]
                else:
                    state = {} if state is None else state
                    place = f"{name}.step: the state of {where}"
                    checked_entry(place, p, state, numbers, keys, LATE)
                    fresh = fresh_entries(p, state, numbers, keys)
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

    def _place(self, g, i):
        group = self.param_groups[g]
        names = group.get("param_names")
        named = f" ({names[i]!r})" if names else ""
        return f"parameter {i}{named} of group {g}"

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
