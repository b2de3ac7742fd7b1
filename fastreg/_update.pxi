# Optimizer steps: hyper-parameters by group, one lock, and the order of events in a step.

cdef enum:
    HOLD_GIL_BYTES = 64 * 1024  # a step this small is over before another thread could start

@cython.final
cdef class Lock:
    """A mutex that can be replaced: a forked child cannot open its parent's."""

    cdef cython.pymutex mutex


@cython.final
cdef class Group:
    """Hyper-parameters shared by the parameters whose names match."""

    cdef fr_hyper hyper
    cdef double memory, next_memory  # the rule's number from step to step (see fr_prepare)
    cdef dict schedules              # name of a hyper-parameter: function of the step

    def __cinit__(self):
        self.memory = 1.0
        self.schedules = {}
        self.hyper.clip_value = float("inf")

    cdef double *field(self, str name) except NULL:
        cdef int i
        for i in range(fr_hyper_count):
            if fr_hyper_names[i].decode() == name:
                return <double *>&self.hyper + i
        raise KeyError(name)

    cdef set(self, str name, object value):
        """A number, or a function of the step."""
        if callable(value):
            self.schedules[name] = value
        else:
            self.schedules.pop(name, None)
            self.field(name)[0] = value

    cdef tuple numbers(self):
        """Everything this group holds."""
        cdef int i
        cdef double *first = <double *>&self.hyper
        return [first[i] for i in range(fr_hyper_count)], self.memory, self.schedules

    cdef take(self, tuple numbers):
        """Take over another group's numbers."""
        cdef int i
        cdef double *first = <double *>&self.hyper
        for i in range(fr_hyper_count):
            first[i] = numbers[0][i]
        self.memory, self.schedules = numbers[1], dict(numbers[2])

    cdef follow(self, str where, long long t):
        """Ask the schedules for their values at step t."""
        for name, schedule in list(self.schedules.items()):
            value = schedule(t)
            try:
                number = -1.0 if isinstance(value, (bool, str)) else float(value)
            except (TypeError, ValueError, OverflowError):
                number = -1.0
            if not 0.0 <= number < float("inf"):
                raise ValueError(
                    f"{where}: the schedule of {name} must give a finite number of at least 0, "
                    f"got {value!r} at step {t}"
                )
            self.field(name)[0] = number


cdef class Updater:
    """One optimizer's rule, hyper-parameters, step count and state, and its lock.

    A step happens whole or not at all: everything is checked first, and from the first write to
    the new step count no Python code runs that a signal could interrupt.
    """

    cdef int rule, n_slots
    cdef list groups        # of Group; the first is everyone else's
    cdef list slots         # a dictionary by name for each slot, and one for the averages
    cdef list initial       # first values of the slots, None for a copy of the parameter
    cdef fr_step *scalars   # two a group: penalised, and not
    cdef Binding binding
    cdef Lock lock
    cdef unsigned long owner  # the thread inside, 0 if none
    cdef object __weakref__
    cdef public object assign          # name -> (group, is it penalised?)
    cdef public str on_nonfinite
    cdef public double clip_norm       # 0: no clipping
    cdef public long long t, skipped
    cdef readonly double grad_norm     # of the last step that needed it
    cdef readonly str name

    def __cinit__(self, str name, str rule, int n_groups=1, double initial=0.0,
                  bint averaged=False):
        self.name = name
        self.renew_lock()
        guarded.add(self)
        self.rule = list(rules()).index(rule)
        self.n_slots = fr_rules[self.rule].slots
        self.groups = [Group() for _ in range(n_groups)]
        self.slots = [{} for _ in range(self.n_slots + averaged)]
        self.initial = [initial] + [0.0] * (self.n_slots - 1) if self.n_slots else []
        if averaged:
            self.initial.append(None)
        self.on_nonfinite = "propagate"
        self.grad_norm = float("nan")
        self.scalars = <fr_step *>PyMem_Calloc(2 * n_groups, sizeof(fr_step))
        if not self.scalars:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.scalars)

    def renew_lock(self):
        """Start with a lock of one's own, as a forked child must."""
        self.lock, self.owner = Lock(), 0

    cdef enter(self, str what):
        """Refuse to be called from a schedule or a predicate of the step that is under way."""
        if self.owner == PyThread_get_thread_ident():
            raise RuntimeError(
                f"{self.name}.{what}: called from inside its own update, by a schedule or exclude")

    def get_hyper(self, str key, int group=0):
        """A hyper-parameter: a number, or its schedule."""
        cdef Group g = self.groups[group]
        return g.schedules.get(key, g.field(key)[0])

    def set_hyper(self, str key, object value, int group=0):
        """Change a hyper-parameter from the next step on."""
        cdef Group g = self.groups[group]
        g.set(key, value)

    def slot(self, int k):
        """State slot ``k`` by parameter name; the averages come after the rule's own."""
        return self.slots[k]

    def snapshot(self):
        """Steps, skipped steps, the groups' memory and copies of all state, of one moment."""
        self.enter("state_dict")
        with self.lock.mutex:
            self.owner = PyThread_get_thread_ident()
            try:
                slots = [{name: state.copy(order="K") for name, state in slot.items()}
                         for slot in self.slots]
                return self.t, self.skipped, self.get_memory(), slots
            finally:
                self.owner = 0

    def __reduce__(self):
        t, skipped, _, slots = self.snapshot()
        made = (self.name, fr_rules[self.rule].name.decode(), len(self.groups),
                self.initial[0] if self.n_slots else 0.0, len(self.slots) > self.n_slots)
        groups = [(<Group>group).numbers() for group in self.groups]
        return Updater, made, (groups, self.assign, self.on_nonfinite, self.clip_norm, t,
                               skipped, slots)

    def __setstate__(self, state):
        (groups, self.assign, self.on_nonfinite, self.clip_norm, self.t, self.skipped,
         self.slots) = state
        for group, numbers in zip(self.groups, groups):
            (<Group>group).take(numbers)

    def get_memory(self):
        """The groups' numbers from step to step."""
        return [(<Group>group).memory for group in self.groups]

    def set_state(self, long long t, long long skipped, list memory, list slots, dict hypers):
        """Take over a state that has been checked."""
        cdef Group group
        self.enter("load_state_dict")
        with self.lock.mutex:
            for name, (value, members) in hypers.items():
                for k in members:
                    self.set_hyper(name, value, k)
            self.binding = None
            self.t, self.skipped, self.slots = t, skipped, slots
            for group, number in zip(self.groups, memory):
                group.memory = number

    def update(self, object params, object grads):
        """Advance one step."""
        self.enter("update")
        with self.lock.mutex:
            self.owner = PyThread_get_thread_ident()
            try:
                self.advance(params, grads)
            finally:
                self.owner = 0

    cdef advance(self, object params, object grads):
        """Check everything, then run; the lock is held."""
        cdef Binding binding = self.bind(params, grads)
        cdef Group group
        cdef Step job
        for group in self.groups:
            if group.schedules:
                group.follow(f"{self.name}.update", self.t)
        held = binding.take_gradients(grads)
        job.rule, job.scalars, job.scale = self.rule, self.scalars, 1.0
        job.asked = asked_threads() if binding.bytes_moved >= FR_SERIAL_BYTES else 1
        if (self.clip_norm or self.on_nonfinite != "propagate") and not self.measure(
                binding, &job):
            self.skipped += 1
            return
        self.prepare(job.scale)
        if binding is not self.binding:
            self.keep(binding)
        binding.container = params
        if binding.any_scalars:
            binding.read_scalars()
        if binding.bytes_moved < HOLD_GIL_BYTES:
            binding.run(update_unit, &job, 0)
        else:
            with nogil:
                binding.run(update_unit, &job, binding.bytes_moved)
        self.t += 1
        for group in self.groups:
            group.memory = group.next_memory
        if binding.any_scalars:
            binding.write_scalars()

    cdef prepare(self, double scale):
        """Compute the step's scalars for every group, with and without penalties."""
        cdef Group group
        cdef int g = 0
        cdef double t = <double>(self.t + 1)
        for group in self.groups:
            group.next_memory = group.memory
            fr_prepare(&self.scalars[2 * g], self.rule, &group.hyper, t, scale, 1,
                       &group.next_memory)
            if self.assign is not None:
                group.next_memory = group.memory
                fr_prepare(&self.scalars[2 * g + 1], self.rule, &group.hyper, t, scale, 0,
                           &group.next_memory)
            g += 1

    cdef bint measure(self, Binding binding, Step *job) except -1:
        """Read the gradients once: their norm, the factor that clips it, and whether all are
        finite. False if the step is to be skipped."""
        cdef double total, nonfinite = 0.0, unit = 1.0
        with nogil:
            total = binding.sum_of(FR_SUM_scaled_squares, job)
            if not total < HUGE_VAL:
                nonfinite = binding.sum_of(FR_SUM_nonfinite, job)
                if nonfinite == 0:  # float64 gradients beyond 1e154
                    unit = job.scale = 2.0**-540
                    total = binding.sum_of(FR_SUM_scaled_squares, job)
        job.scale = 1.0
        self.grad_norm = sqrt(total) / unit
        if nonfinite and self.on_nonfinite == "raise":
            bad = [name for name, i in zip(binding.names, range(binding.n_tensors))
                   if not binding.finite(i)]
            raise FloatingPointError(
                f"{self.name}.update: grads must be finite, got NaN or infinity in {bad}; "
                "nothing was changed"
            )
        if nonfinite and self.on_nonfinite == "skip":
            return False
        if self.clip_norm and self.clip_norm < self.grad_norm < HUGE_VAL:
            job.scale = self.clip_norm / self.grad_norm
        return True

    def swap_averages(self):
        """Exchange the parameters of the last update with their averages."""
        where = f"{self.name}.swap_ema"
        self.enter("swap_ema")
        with self.lock.mutex:
            self.owner = PyThread_get_thread_ident()
            try:
                self.swap(where)
            finally:
                self.owner = 0

    cdef swap(self, str where):
        if self.binding is None or len(self.slots) == self.n_slots:
            raise RuntimeError(f"{where}: needs ema_decay= and at least one update first")
        if not self.binding.covers(self.binding.container):
            raise ValueError(
                f"{where}: params must hold the arrays of the last update, writeable and "
                "unmoved; update once with the new ones first"
            )
        if self.binding.any_scalars:
            self.binding.read_scalars()
        self.binding.swap_averages(self.n_slots)
        if self.binding.any_scalars:
            self.binding.write_scalars()

    cdef Binding bind(self, object params, object grads):
        """The binding of these parameters: the last one, or a new one not yet kept."""
        cdef Binding binding
        cdef Py_ssize_t i
        cdef bint named = isinstance(params, dict)
        cdef str where
        if (named or isinstance(params, (list, tuple))) and (
                isinstance(grads, dict) if named else isinstance(grads, (list, tuple))):
            if self.binding is not None and self.binding.covers(params):
                return self.binding
        where = f"{self.name}.update"
        for name, value in (("params", params), ("grads", grads)):
            if not isinstance(value, (dict, list, tuple)):
                raise TypeError(
                    f"{where}: {name} must be a dict or a list of arrays, got "
                    f"{type(value).__name__}"
                )
        if named != isinstance(grads, dict):
            raise TypeError(
                f"{where}: params and grads must both be dicts or both lists, got "
                f"{type(params).__name__} and {type(grads).__name__}"
            )
        if named:
            names, values = list(params), list(params.values())
        else:
            names, values = list(range(len(params))), list(params)
        binding = Binding(where, names, values, self.slots, self.initial)
        if isinstance(params, tuple) and binding.any_scalars:
            raise TypeError(f"{where}: params must be a list to hold floats, got a tuple")
        for i in range(binding.n_tensors):
            group, penalised = (0, True) if self.assign is None else self.assign(names[i])
            binding.aim(i, self.n_slots, 2 * <int>group + (not penalised))
        return binding

    cdef keep(self, Binding binding):
        """Commit a binding whose gradients have been checked, and the state it brought."""
        for name, states in zip(binding.names, binding.states):
            for known, state in zip(self.slots, states):
                known[name] = state
        self.binding = binding
