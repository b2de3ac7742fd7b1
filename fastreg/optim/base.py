"""What all optimizers share: the services, and the step."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fastreg._core import checks, seeds
from fastreg._core._kernels import Updater
from fastreg.optim.groups import Membership, checked_exclude, checked_groups
from fastreg.optim.hypers import COMPAT, INITIAL, SERVICES, Default
from fastreg.optim.state import State, saved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastreg._core.types import Array, Compat, Exclude, Gradients, Groups, Parameters, Seed

__all__ = ["Optimizer"]

BITS = {"bfloat16": 16, "int8": 8}  # of each number of the state


class Optimizer(State):
    r"""Base of all optimizers. Its keyword arguments are services that every optimizer offers.

    They are computed in the same pass over memory as the step itself, in this order:

    1. gradients are multiplied by ``min(1, clip_norm / norm)`` and clipped to ``clip_value``;
    2. ``lambda_l2 * theta`` and, in mode "subgradient", ``lambda_l1 * sign(theta)`` are added;
    3. the rule's step is taken from ``theta * (1 - learning_rate * weight_decay)``;
    4. in mode "prox", the result is soft-thresholded in the rule's own metric;
    5. the moving average follows: ``ema = ema_decay * ema + (1 - ema_decay) * theta``.

    Parameters
    ----------
    weight_decay : float or function of the step, default 0
        Decoupled decay: theta shrinks by ``learning_rate * weight_decay`` per step. With
        ``compat`` it does what the argument of this name does in that library: in torch all
        classes but AdamW add ``weight_decay * theta`` to the gradient, as ``lambda_l2`` does, and
        so does Optax's Adadelta. Where the library's class has no decay, it is refused.
    lambda_l2 : float, default 0
        Coupled L2 penalty: the gradient of ``lambda_l2 / 2 * sum(theta ** 2)`` is added.
    lambda_l1 : float, default 0
        Penalty ``lambda_l1 * sum(abs(theta))``.
    l1_mode : {"subgradient", "prox"}
        The chapter's sign, or the proximal operator, which reaches exact zeros.
    clip_norm : float, optional
        Largest norm of all gradients together, above 0. The norm is summed in float64, in one
        extra read of the gradients; ``grad_norm`` keeps it. A norm that is not finite clips
        nothing. With ``compat="torch"`` the norm counts as 1e-6 larger, as in torch.
    clip_value : float, optional
        Largest absolute value of a gradient's element, above 0.
    exclude : callable or sequence of str, default ()
        Names (or name patterns as in :mod:`fnmatch`) that decay and penalties leave alone, or a
        function of the name that says so. By default nothing is exempt, as in the chapter;
        ``fastreg.optim.BIASES_AND_SCALES`` is the usual choice.
    groups : dict, optional
        ``{pattern: {hyper-parameter: value}}`` for parameters whose names match; the first
        pattern that matches counts.
    on_nonfinite : {"propagate", "skip", "raise"}
        What happens at a NaN or an infinity in any gradient: it spreads as IEEE arithmetic has
        it, the step is skipped (counted in ``skipped``), or FloatingPointError is raised. In the
        last two cases nothing changes.
    maximize : bool, default False
        Climb instead of descending: the step is taken with the gradients' negatives, bit for bit.
    ema_decay : float, optional
        Decay of an exponential moving average of the parameters, in [0, 1); see ``swap_ema``.
        An average begins with the parameter's value before its first step; in torch
        (``AveragedModel``) and Keras with the values after the optimizer's first step.
    compat : {None, "torch", "keras", "optax"}
        Whose formula and default hyper-parameters to use where libraries disagree.
    state_dtype : {None, "bfloat16", "int8"}
        Keep the state as the parameters are, in half the bytes, or in a byte per number; see the
        notes.
    master : bool, default False
        Keep a float32 copy of each parameter of 16 bits, which takes the steps; see the notes.
    rng : optional
        Anything :func:`numpy.random.default_rng` takes; it determines the stochastic rounding of
        state in fewer bits and of parameters of 16 bits. Left out, a seed is drawn from NumPy's
        global state when it is first needed.

    Attributes
    ----------
    lr : float or function of the step
        The learning rate of the next step. A number or a schedule may be assigned at any time.
    t : int
        Steps taken. Each parameter has a count of its own, the steps in which it had a gradient;
        bias corrections use that. Assigning ``t`` sets the count of every parameter.
    skipped : int
        Steps skipped because of NaN or infinity.
    grad_norm : float
        Norm of the last gradients, if ``clip_norm`` or ``on_nonfinite`` asked for it.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Numbers are rounded to each parameter's dtype, once what a step needs of them has been worked
    out in float64: for float32 parameters a rate, decay, penalty or epsilon below 1e-45 counts as
    0, and what is above 3.4e38 as infinite.

    A step is right to rounding for gradients of any size that the dtype can hold, even where
    their squares leave its range (in float32 beyond 1.8e19). A mean of squares that the dtype
    cannot hold is kept as minus its root: ``v`` is negative where it would be infinite, or would
    be 0 with an ``epsilon`` of 0. What no number of the dtype can hold, such as a tenth of its
    smallest number, is rounded as any result is.

    Parameters and gradients may be float16 or bfloat16, the type of that name in ml_dtypes. Steps
    and state are then those of float32. A step of less than half of a parameter's last place would
    never move it if it were rounded to the nearest. So the result is rounded up or down by chance,
    right in the mean, from bits that depend on the seed, ``t`` and the element's place alone; below
    the last place of float32 a step is lost, as it is there. With ``master=True`` float32 copies
    (``masters``) take the steps, and parameters are what these round to: 4 bytes more for each, and
    nothing is left to chance. Who writes to a parameter is heard: a copy that does not round to its
    parameter is replaced by it. Averages need ``master=True``. What is finite stays finite: where
    float16 ends, so does the parameter, at 65504.

    With ``state_dtype="bfloat16"`` parameters and gradients are float32 or have 16 bits, and what a
    rule keeps of them is bfloat16, the upper halves of float32 numbers, in arrays of uint16:
    ``(m.astype(np.uint32) << 16).view(np.float32)`` are the numbers. A batch norm, whose gamma and
    beta are float64, is given others: ``norm.gamma = norm.gamma.astype("f4")``. Steps are computed
    in float32. First moments are rounded to the nearest. Second moments, of which a step changes a
    thousandth where bfloat16 has two to three digits, would never move that way: they are rounded
    up or down by chance, right in the mean, from bits that depend on the seed, ``t`` and the
    element's place among all parameters alone. First moments whose decay is above 0.99 are
    treated in the same way, which takes more time. Every number of threads and every instruction
    set gives the same bits. Averages, z of ScheduleFreeAdamW, and v and mean of a centered
    RMSprop, whose difference counts, stay float32. SGD has no state.

    ``state_dtype="int8"`` keeps the same slots in a byte per number, in arrays of uint8, for
    parameters that are contiguous in C order. Of 256 numbers that lie side by side the largest
    decides about a power of two, their scale, whose exponent is in ``scales``. A byte holds three
    binary digits of a number, down to 4 decades below the largest of its 256, and of squares, which
    have no sign, 9 decades; what is smaller is rounded to multiples of the smallest step, and a
    square above 0 to one step at least. All are rounded up or down by chance, first moments too:
    these are right in the mean, and of squares what steps use of them, one over the root. NaN and
    infinity concern their own element alone. Each root is then known to about a tenth. In a peak
    (``amsgrad``) the highest of many such draws remains, which makes steps shorter. Assigned arrays
    are float32, and are encoded; ``load_state_dict`` of an optimizer without ``state_dtype`` reads
    a state in int8 as float32.

    ``learning_rate`` and ``weight_decay`` take a number or a schedule: a function of the number
    of steps taken so far, so that the first step uses ``schedule(0)``.

    Examples
    --------
    >>> optimizer = fastreg.SGD(0.1, lambda_l1=1.0, l1_mode="prox", exclude=["*.b"])
    >>> params = {"0.W": np.array([0.05, -1.0]), "0.b": np.array([0.05])}
    >>> optimizer.update(params, {name: np.zeros_like(p) for name, p in params.items()})
    >>> params
    {'0.W': array([ 0. , -0.9]), '0.b': array([0.05])}

    State in half the bytes:

    >>> optimizer = fastreg.Adam(0.1, state_dtype="bfloat16", rng=0)
    >>> params = {"w": np.ones(3, "f4")}
    >>> optimizer.update(params, {"w": np.array([1, 2, 3], "f4")})
    >>> optimizer.m["w"].nbytes, (optimizer.m["w"].astype(np.uint32) << 16).view(np.float32)
    (6, array([0.10009766, 0.20019531, 0.30078125], dtype=float32))
    >>> optimizer = fastreg.Adam(0.1, state_dtype="int8", rng=0)
    >>> optimizer.update(params, {"w": np.array([1, 2, 3], "f4")})
    >>> optimizer.m["w"].nbytes, optimizer.scales["m"]["w"]
    (3, array([-2], dtype=int16))

    Parameters in half the bytes, which small steps move by chance, or with a float32 copy:

    >>> params = {"w": np.ones(4, np.float16)}
    >>> fastreg.SGD(0.0005, rng=0).update(params, {"w": -np.ones(4, np.float16)})
    >>> params["w"]
    array([1.   , 1.   , 1.001, 1.   ], dtype=float16)
    >>> optimizer, params = fastreg.SGD(0.0005, master=True), {"w": np.ones(4, np.float16)}
    >>> optimizer.update(params, {"w": -np.ones(4, np.float16)})
    >>> optimizer.masters["w"]
    array([1.0005, 1.0005, 1.0005, 1.0005], dtype=float32)
    """

    def __init__(
        self,
        rule: str,
        slots: tuple[str, ...],
        hypers: dict[str, Any],
        *,
        l1_mode: str = "subgradient",
        clip_norm: float | None = None,
        exclude: Exclude = (),
        groups: Groups | None = None,
        on_nonfinite: str = "propagate",
        ema_decay: float | None = None,
        maximize: bool = False,
        compat: Compat | None = None,
        state_dtype: str | None = None,
        master: bool = False,
        rng: Seed = None,
        **services: Any,
    ) -> None:
        unknown = [name for name in services if name not in SERVICES]
        if unknown:
            raise TypeError(f"{self._name}: got unknown arguments {', '.join(unknown)}")
        self._slots, self._hypers = slots, tuple(name for name in hypers if name != INITIAL)
        if compat is not None:
            checks.choice(self._name, "compat", compat, tuple(COMPAT)[1:])
        if compat is not None and self._decays.get(compat) == "no class":
            library = compat.capitalize() if compat != "torch" else compat
            raise ValueError(
                f"{self._name}: compat={compat!r} does not exist, {library} has no {self._name}"
            )
        checks.choice(self._name, "l1_mode", l1_mode, ("subgradient", "prox"))
        checks.choice(self._name, "on_nonfinite", on_nonfinite, ("propagate", "skip", "raise"))
        self._l1_mode, self._compat = l1_mode, compat
        self._averaged = ema_decay is not None or self._averages
        known = (*self._hypers, *SERVICES)
        groups = checked_groups(self._name, {} if groups is None else groups, known)
        exclude = checked_exclude(self._name, exclude)
        self._overrides = [{}]
        for pattern, own in groups.items():
            self._overrides.append(self._settled(own, f": groups[{pattern!r}]"))
        defaults = {name: service[0] for name, service in SERVICES.items()}
        values = self._settled(defaults | hypers | services)
        if ema_decay is not None:
            ema_decay = values["ema_decay"] = checks.number(
                self._name, "ema_decay", ema_decay, low=0.0, high=1.0, open_high=True
            )
        elif self._averages:
            values["ema_decay"] = -1.0  # the weights of the rule's own average
        if clip_norm is not None:
            clip_norm = checks.number(self._name, "clip_norm", clip_norm, low=0.0, open_low=True)
        if state_dtype is not None:
            checks.choice(self._name, "state_dtype", state_dtype, tuple(BITS))
        narrow = state_dtype is not None
        self._mastered = checks.flag(self._name, "master", master)
        key = seeds.key(self._name, rng) if narrow or rng is not None else None
        initial = values.pop(INITIAL, 0.0)
        begins = tuple(
            None if name in self._copies else initial if name in self._accumulators else 0.0
            for name in slots
        )
        self._updater = Updater(
            self._name,
            rule,
            len(self._overrides),
            begins,
            self._averaged,
            0 if state_dtype is None else BITS[state_dtype],
            key,
            self._mastered,
        )
        self._state_dtype = state_dtype
        for group, own in enumerate(self._overrides):
            self._updater.set_hyper("compat", float(COMPAT[compat]), group)
            coupled = self._decays.get(compat) == "coupled"
            self._updater.set_hyper("coupled", float(coupled), group)
            for name, value in (values | own).items():
                self._set(name, value, group)
        self._updater.clip_norm = clip_norm or 0.0
        self._updater.on_nonfinite = on_nonfinite
        self._updater.maximize = checks.flag(self._name, "maximize", maximize)
        if groups or exclude:
            self._updater.assign = Membership(tuple(groups), exclude)
        self._fixed = {
            "rule": rule,
            **({INITIAL: initial} if INITIAL in hypers else {}),
            "l1_mode": l1_mode,
            "clip_norm": clip_norm,
            "on_nonfinite": on_nonfinite,
            "ema_decay": ema_decay,
            **({"maximize": True} if maximize else {}),
            "exclude": None if callable(exclude) else list(exclude),
            "groups": {
                pattern: {name: saved(value) for name, value in own.items()}
                for pattern, own in zip(groups, self._overrides[1:], strict=True)
            },
        }

    def _settled(self, values, place=""):
        """Check hyper-parameters; those of ``compat`` take the place of defaults."""
        theirs, settled = self._defaults.get(self._compat, {}), {}
        for name, value in values.items():
            if isinstance(value, Default):
                value = theirs.get(name, float(value))
            settled[name] = self._checked(name, value, place)
        return settled

    @property
    def t(self) -> int:
        """Steps taken; an assigned number is the count of every parameter, too."""
        return self._updater.t

    @t.setter
    def t(self, value: int) -> None:
        self._updater.set_t(checks.integer(self._name, "t", value, low=0, high=2**62))

    @property
    def skipped(self) -> int:
        """Steps skipped because a gradient was not finite."""
        return self._updater.skipped

    @property
    def grad_norm(self) -> float:
        """Norm of the last gradients, if clip_norm or on_nonfinite asked for it; else NaN."""
        return self._updater.grad_norm

    @property
    def averaged(self) -> bool:
        """Whether averages of the parameters are kept, for ``swap_ema``."""
        return self._averaged

    @property
    def ema(self) -> Mapping[Any, Array]:
        """Averages of the parameters, by name; empty without ``ema_decay`` or one of the rule's."""
        return MappingProxyType(self._updater.slot(len(self._slots)) if self._averaged else {})

    @property
    def scales(self) -> Mapping[str, Mapping[Any, Array]]:
        """Exponents of the scales of state in int8, by slot and name; empty without it."""
        if self._state_dtype != "int8":
            return MappingProxyType({})
        return MappingProxyType(
            {
                slot: MappingProxyType(self._updater.slot_scales(k))
                for k, slot in enumerate(self._slots)
                if self._updater.halved(k)
            }
        )

    @property
    def masters(self) -> Mapping[Any, Array]:
        """Float32 copies of parameters of 16 bits, by name; empty without ``master=True``."""
        k = len(self._slots) + self._averaged
        return MappingProxyType(self._updater.slot(k) if self._mastered else {})

    def update(self, params: Parameters, grads: Gradients) -> None:
        """Advance every parameter by one step, in place.

        Parameters
        ----------
        params : dict or list of ndarray
            float32 or float64 arrays, float16 or bfloat16, of any shape, contiguous in any order
            of their axes, writeable, sharing no memory; dtypes may be mixed. New names may join at
            any step; each has a count of steps of its own. Python floats and NumPy scalars are
            allowed as values; such an entry is replaced by the new number.
        grads : dict or list of ndarray
            One gradient per parameter, of its name, shape and dtype, in any memory layout;
            integers and truth values are converted to the parameter's dtype, and a plain number
            is the gradient of every element. None leaves a parameter alone, with its state and
            its count.
            Names that are not in ``params`` are ignored.

        Raises
        ------
        TypeError
            If a container or an entry is of the wrong kind or dtype.
        ValueError
            If a gradient is missing or its shape differs, a parameter is read-only, not
            contiguous, or shares memory with another, or a schedule gives no finite number of at
            least 0.
        FloatingPointError
            If a gradient is not finite and ``on_nonfinite="raise"``.
        RuntimeError
            If parameters and averages have changed places (``swap_ema``).

        Notes
        -----
        Everything is checked before the first parameter is changed, and an interrupt (Ctrl-C)
        takes effect before or after the whole step.
        """
        self._updater.update(params, grads)

    def swap_ema(self, params: Parameters | None = None) -> None:
        """Exchange parameters with their averages, in place.

        Call it before an evaluation and again after it; no update is possible in between.
        Parameters without an average, and those not in ``params``, keep their values.

        Parameters
        ----------
        params : dict or list of ndarray, optional
            The parameters to exchange; left out, those of the last update, which an optimizer
            that has just been loaded or copied does not know.

        Raises
        ------
        RuntimeError
            If there are no averages yet, no parameters are known, or several ranks train.
        """
        if self._ranks > 1 or (self._ranks and params is not None):
            raise RuntimeError(
                f"{self._name}.swap_ema: the state is shared out among ranks or shards while "
                "Trainer.fit runs; call it when fit has ended, or on one rank without params"
            )
        self._updater.swap_averages(params)

    def __repr__(self) -> str:
        rate = self._updater.get_hyper("learning_rate")
        kind = f" state={self._state_dtype}" if self._state_dtype else ""
        return f"<{self._name} lr={rate if callable(rate) else format(rate, 'g')} t={self.t}{kind}>"
