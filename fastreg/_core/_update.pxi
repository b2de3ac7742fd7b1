# A step of an optimizer, and the order of its events.
#
# From _threads: asked_threads; _tensor: clip_to, measure_gradients, Row, Step, update_unit; _layerwise:
# step_layerwise; _binding: Binding; _scalars: exchange_averages, step_scalars; _hypers: Group; _state: asker, State.

cdef enum:
    HOLD_GIL_BYTES = 0x10000  # a step this small is over before another thread could start

cdef long long LAST_STEP = 2**62  # a counter ends here


cdef class Updater(State):
    """One optimizer, which takes steps.

    A step happens whole or not at all: everything is checked first, and from the first write to
    the new step count no Python code runs that a signal could interrupt.
    """

    def update(self, object params, object grads):
        """Advance one step."""
        cdef long long t
        cdef list values
        while True:
            t = self.t
            values = self.ask(params)
            self.lock.enter("update")
            try:
                if values is None or t == self.t:  # another thread may have taken that step
                    self.advance(params, grads, values)
                    return
            finally:
                self.lock.leave()

    cdef list ask(self, object params):
        """What the caller's functions say to the next step: the values of each group's schedules;
        None if there are no such functions.

        No lock is held while they run, so they may do as they like: wait for another thread that
        uses this optimizer, read its state, fork. They may not take a step of it.
        """
        cdef Group group
        cdef Binding binding = self.binding
        cdef bint scheduled = False, predicate = False
        cdef list values
        for group in self.groups:
            scheduled |= len(group.schedules) > 0
        if self.assign is not None and callable(getattr(self.assign, "exclude", self.assign)):
            predicate = isinstance(params, (dict, list, tuple)) and not (
                binding is not None and binding.covers(params))
        if not scheduled and not predicate:
            return None
        self.refuse_asking("update")
        inside, values = asker(), []
        self.asking.add(inside)
        try:
            if predicate:
                names = params if isinstance(params, dict) else range(len(params))
                members = {}
                for name in names:
                    members[name] = self.assign(name)
                self.members = members
            for group in self.groups:
                values.append(group.ask(f"{self.name}.update", self.t))
            return values
        finally:
            self.asking.discard(inside)

    cdef tuple member(self, object name):
        """The group of a parameter, and whether it is penalised."""
        if self.assign is None:
            return 0, True
        found = self.members.get(name)
        return self.assign(name) if found is None else found

    cdef advance(self, object params, object grads, list values):
        """Check everything, then run; the lock is held."""
        cdef Binding binding
        cdef Group group
        cdef Step job
        cdef list undo
        if self.swapped:
            raise RuntimeError(
                f"{self.name}.update: parameters and averages have changed places; call swap_ema() "
                "once more first")
        if self.t >= LAST_STEP or self.skipped >= LAST_STEP:
            raise OverflowError(
                f"{self.name}.update: the count of steps ends at 2**62; assign a smaller t")
        if values is not None:
            for group, numbers in zip(self.groups, values):
                for name, number in numbers.items():
                    group.field(name)[0] = number
        binding = self.bind(params, grads)
        held = binding.take_gradients(grads)
        if binding.newborn:
            binding = self.new_binding(params, grads)
            held = binding.take_gradients(grads)
        if binding.draws and not self.draws:
            if not self.keyed:
                self.key, self.keyed = seeds.key(self.name, None), True
            self.draws = True
        job.rule, job.scalars, job.scale, job.unit = self.rule, binding.steps, 1.0, 1.0
        job.draws.key, job.draws.call = self.key, <uint64_t>self.t | <uint64_t>3 << 62
        job.asked = asked_threads() if binding.bytes_moved >= FR_SERIAL_BYTES else 1
        if (self.clip_norm or self.on_nonfinite != "propagate") and not self.measure(
                binding, &job):
            self.skipped += 1
            return
        if binding.partial:
            binding.split()
        self.prepare(binding, -job.scale if self.maximize else job.scale, job.unit)
        undo = self.keep(binding) if binding is not self.binding else None
        if binding.any_scalars:
            try:
                step_scalars(binding, params, &job)
            except BaseException:
                forget(undo)
                raise
        self.binding, binding.container = binding, params
        if binding.bytes_moved < HOLD_GIL_BYTES:
            run_step(binding, &job, 0)
        else:
            with nogil:
                run_step(binding, &job, binding.bytes_moved)
        binding.count_step()
        self.t += 1
        self.start = 0

    cdef prepare(self, Binding binding, double scale, double unit):
        """Compute the scalars of every row that this step moves."""
        cdef Group group
        cdef Row *row
        cdef Py_ssize_t r
        for r in range(binding.n_rows):
            row = &binding.rows[r]
            if row.active:
                group = self.groups[row.group]
                row.next_memory = row.memory
                fr_prepare(&binding.steps[r], self.rule, &group.hyper, <double>(row.count + 1),
                           scale, unit, row.penalised, &row.next_memory)
                if self.t == 0 and group.hyper.compat in (FR_TORCH, FR_KERAS):
                    # there the averages begin as copies of what the first step leaves
                    binding.steps[r].average, binding.steps[r].one_minus_average = 0.0, 1.0

    cdef bint measure(self, Binding binding, Step *job) except -1:
        """Read the gradients once: their norm, the factor that clips it, and whether all are
        finite. False if the step is to be skipped."""
        cdef Group group = self.groups[0]
        cdef double more = 1e-6 if group.hyper.compat == FR_TORCH else 0.0
        cdef bint finite
        if self.measured is not None:
            self.grad_norm, finite = self.measured
            clip_to(job, self.clip_norm if finite else 0.0, self.grad_norm + more, 1.0)
        else:
            binding.lend(job)
            with nogil:
                finite = measure_gradients(
                    job, binding.n_units, binding.n_pieces, binding.grad_bytes, self.clip_norm,
                    more, &self.grad_norm)
        if not finite and self.on_nonfinite == "raise":
            places = "" if self.measured is not None else f" in {binding.not_finite()}"
            raise FloatingPointError(
                f"{self.name}.update: grads must be finite, got NaN or infinity{places}; nothing "
                "was changed"
            )
        return finite or self.on_nonfinite != "skip"

    def check(self, object params):
        """Refuse parameters that a step would refuse, by the same errors."""
        self.begin("update")
        try:
            self.new_binding(params, None)
        finally:
            self.lock.leave()

    def swap_averages(self, object params):
        """Exchange the parameters, those of the last update if None, with their averages."""
        where = f"{self.name}.swap_ema"
        self.begin("swap_ema")
        try:
            self.swap(where, params)
        finally:
            self.lock.leave()

    cdef swap(self, str where, object params):
        cdef Binding binding = self.binding
        cdef list undo = None
        if not self.averaged or (params is None and binding is None):
            raise RuntimeError(
                f"{where}: needs ema_decay= and at least one update first, or the parameters")
        if params is None:
            params = binding.container
            if not binding.covers(params):
                raise ValueError(
                    f"{where}: params must hold the arrays of the last update, writeable and "
                    "unmoved; pass the new ones"
                )
        else:
            check_container(where, "params", params)
            if binding is None or not binding.covers(params):
                binding = self.new_binding(params, None, where)
        if binding is not self.binding:
            undo = self.keep(binding)
        try:
            exchange_averages(binding, params)
        except BaseException:
            forget(undo)
            raise
        self.binding, binding.container = binding, params
        self.swapped = not self.swapped

    cdef Binding bind(self, object params, object grads):
        """The binding of these parameters: the last one, or a new one not yet kept."""
        cdef bint named = isinstance(params, dict)
        cdef str where
        if (named or isinstance(params, (list, tuple))) and (
                isinstance(grads, dict) if named else isinstance(grads, (list, tuple))):
            if self.binding is not None and self.binding.covers(params):
                return self.binding
        where = f"{self.name}.update"
        check_container(where, "params", params)
        check_container(where, "grads", grads)
        if named != isinstance(grads, dict):
            raise TypeError(
                f"{where}: params and grads must both be dicts or both lists, got "
                f"{type(params).__name__} and {type(grads).__name__}"
            )
        return self.new_binding(params, grads, where)

    cdef Binding new_binding(self, object params, object grads, str where=None):
        """Bind parameters; those join that have a gradient."""
        cdef Binding binding
        cdef dict born = dict(self.settled())
        cdef list names, values, kinds = []
        cdef Py_ssize_t i
        where = where or f"{self.name}.update"
        if isinstance(params, dict):
            names, values = list(params), list(params.values())
        else:
            names, values = list(range(len(params))), list(params)
        for name in names:
            kinds.append(self.member(name))
        if isinstance(grads, dict):
            for name in names:
                if name not in born and (<dict>grads).get(name) is not None:
                    born[name] = self.start, 1.0
        elif grads is not None:
            for i in range(min(len(names), len(grads))):
                if i not in born and grads[i] is not None:
                    born[i] = self.start, 1.0
        binding = Binding(where, names, values, self.slots, self.scales, self.initial,
                          self.born, born, self.rule, self.bits, self.averaged, self.mastered,
                          self.places)
        if isinstance(params, tuple) and binding.any_scalars:
            raise TypeError(f"{where}: params must be a list to hold floats, got a tuple")
        binding.aim(self.n_slots, kinds, born)
        return binding

    cdef list keep(self, Binding binding):
        """Commit the state that a binding brought; return what undoes it."""
        cdef list changes = []
        cdef Py_ssize_t i, k
        for i in range(binding.n_tensors):
            states = binding.states[i]
            for k in range(len(states)):
                before = self.slots[k].get(binding.names[i])
                if before is not states[k]:
                    changes.append((self.slots[k], binding.names[i], before, states[k]))
                if binding.scales[i][k] is not None:
                    changes.append((self.scales[k], binding.names[i],
                                    self.scales[k].get(binding.names[i]), binding.scales[i][k]))
        try:
            for known, name, before, state in changes:
                known[name] = state
        except BaseException:
            forget(changes)
            raise
        return changes


cdef void run_step(Binding binding, Step *job, Py_ssize_t nbytes) noexcept nogil:
    """The step itself, of one pass or of two."""
    if job.rule < FR_RULE_lamb:
        binding.run(update_unit, job, nbytes)
        return
    binding.lend(job)
    step_layerwise(job, binding.n_units, binding.n_pieces, nbytes)


cdef forget(list changes):
    """Take back what has been committed."""
    if changes is not None:
        for known, name, before, state in changes:
            if before is None:
                known.pop(name, None)
            else:
                known[name] = before


cdef check_container(str where, str name, object value):
    if not isinstance(value, (dict, list, tuple)):
        raise TypeError(
            f"{where}: {name} must be a dict or a list of arrays, got {type(value).__name__}")
