# Steps of an optimizer over the tensors of another library: everything is checked, then it runs.
#
# From _threads: asked_threads; _tensor: bytes_of, measure_gradients, Row, Step, update_unit;
# _update: HOLD_GIL_BYTES; _exchange: fr_dl_tensor, lies_alike, number_at, place_of, put_number;
# _tensor_parts: Batch, Clock, Part, TensorParts.

@cython.final
cdef class TensorSteps(TensorParts):
    """What takes an optimizer's steps.

    ``table``: the capsule of the tensors' class. ``fields``: of each number of a group its key, its
    name here, its place in the entry or -1, least, most, and default or None. ``flags``: the keys
    of what is true or false, and whether it may be true. ``rule_of(group)``:
    the rule's number, and whether decay is coupled. ``refused(name, g, group, key)`` is the error
    of a group's entry, ``laid_out(name, where, gradient, parameter)`` copies a gradient into its
    parameter's layout or refuses it, and ``written(tensors)`` is told what is about to change."""

    cdef readonly long long skipped
    cdef readonly double grad_norm
    cdef public double clip_norm
    cdef public str on_nonfinite
    cdef object __weakref__

    def __cinit__(self, *_):
        self.on_nonfinite, self.grad_norm = "propagate", float("nan")

    def step(self, list groups, state, uint64_t key):
        """Take one step; False if the parts must be bound anew first. ``key``: of what rounding
        draws, if it ``draws``."""
        self.lock.enter("step")
        try:
            return self.advance(groups, state, key)
        finally:
            self.lock.leave()

    cdef bint advance(self, list groups, state, uint64_t key) except -1:
        """Check everything, then run; the lock is held."""
        cdef Step job
        cdef Batch *batch
        cdef Py_ssize_t b
        cdef bint moved = False
        cdef list grads = [], moving = []
        if len(groups) != self.n_groups or not self.covers(groups, state, grads):
            return False
        if not self.locate(&moved):
            return False
        if moved:
            self.order()
        self.take(grads, moving)
        job.tensors, job.pieces, job.sums = self.tensors, self.pieces, self.sums
        job.draws.key, job.draws.call = key, <uint64_t>3 << 62
        job.scalars, job.scale, job.unit, job.asked = self.steps, 1.0, 1.0, asked_threads()
        if (self.clip_norm or self.on_nonfinite != "propagate") and not self.measure(&job):
            self.skipped += 1
            return True
        if not moving:
            return True
        self.begin(state, moving)
        for b in range(self.n_batches):  # from here on no Python code runs
            batch = &self.batches[b]
            self.prepare(batch, job.scale, job.unit)
            job.rule, job.units = batch.rule, self.units + batch.unit
            if batch.nbytes < HOLD_GIL_BYTES:
                fr_run_tasks(update_unit, &job, batch.units, 0, 1, False)
            else:
                with nogil:
                    fr_run_tasks(update_unit, &job, batch.units, batch.nbytes, job.asked, False)
            self.count_step(batch)
        return True

    cdef take(self, list grads, list moving):
        """Aim the spans at the gradients; ``moving``: the parameters that have one."""
        cdef Py_ssize_t i
        cdef fr_dl_tensor t
        cdef Part part
        for i in range(self.n_parts):
            self.tensors[i].span.grad = NULL
            grad, part = grads[i], <Part>self.parts[i]
            if grad is None:
                continue
            if (not self.reads(grad, &t) or not lies_alike(&t, &self.params[i], self.tensors[i].dtype)
                    or not self.is_apart(i, &t)
                    # The imaginary part of a conjugate; of more elements its strides tell.
                    or (self.tensors[i].span.n == 1 and grad.is_neg())):
                grad = self.laid_out(self.name, part.name, grad, part.param)
                grads[i] = grad
                self.table.borrow(<void *>grad, &t)
            self.tensors[i].span.grad = place_of(&t)
            moving.append(part.param)

    cdef bint reads(self, grad, fr_dl_tensor *t):
        """Whether a gradient lies somewhere: a sparse one does not."""
        try:
            self.table.borrow(<void *>grad, t)
        except Exception:
            return False
        return True

    cdef bint is_apart(self, Py_ssize_t i, const fr_dl_tensor *grad) except -1:
        """Whether a gradient shares no memory with anything that this step writes."""
        cdef uintptr_t start = <uintptr_t>place_of(grad), begin, nbytes
        cdef Py_ssize_t low = 0, high = len(self.targets), middle
        cdef uintptr_t end = start + <uintptr_t>bytes_of(&self.tensors[i], self.tensors[i].span.n)
        if self.tensors[i].disjoint == <const void *>start:
            return True
        if self.shared:
            return False
        while low < high:
            middle = (low + high) // 2
            if <uintptr_t>self.targets[middle][0] < end:
                low = middle + 1
            else:
                high = middle
        if low:
            begin, nbytes = self.targets[low - 1]
            if begin + nbytes > start:
                return False
        self.tensors[i].disjoint = <const void *>start
        return True

    cdef bint measure(self, Step *job) except -1:
        """Read the gradients once, as an Updater does; False if the step is to be skipped."""
        cdef bint finite
        job.units = self.units
        with nogil:
            finite = measure_gradients(job, self.n_units, self.n_pieces, self.grad_bytes,
                                       self.clip_norm, 1e-6, &self.grad_norm)
        if not finite and self.on_nonfinite == "raise":
            raise FloatingPointError(
                f"{self.name}.step: gradients must be finite, got NaN or infinity in "
                f"{', '.join(self.not_finite())}; nothing was changed")
        return finite or self.on_nonfinite != "skip"

    cdef list not_finite(self):
        cdef Py_ssize_t p
        cdef list names = []
        for p in range(self.n_pieces):
            name = (<Part>self.parts[self.pieces[p].tensor]).name
            if self.sums[p] and name not in names:
                names.append(name)
        return names

    cdef begin(self, state, list moving):
        """Enter new state in the books, and say what is about to change; or neither."""
        cdef Part part
        cdef Py_ssize_t i
        cdef list entered = []
        if self.begun:
            self.written(moving)
            return
        try:
            for i in range(self.n_parts):
                part = self.parts[i]
                if self.tensors[i].span.grad != NULL and (part.fresh or part.joins):
                    entered.append(part)
                    if part.fresh:
                        part.state.update(part.fresh)
                    if part.joins:
                        state[part.param] = part.state
            self.remember(state)
            self.written(moving)
        except BaseException:
            for part in entered:
                for key in part.fresh or ():
                    part.state.pop(key, None)
                if part.joins:
                    state.pop(part.param, None)
            self.parts, self.n_parts, self.n_groups = [], 0, 0
            raise

    cdef void prepare(self, Batch *batch, double scale, double unit) noexcept:
        """Compute the scalars of a batch: one row for neighbours of one group and one count."""
        cdef Py_ssize_t i, r, latest = -1, other = -1
        cdef Clock *clock
        cdef Row *row
        cdef Part part
        cdef fr_hyper *hyper
        for i in range(batch.first, batch.last + 1):
            if not self.tensors[i].span.grad:
                continue
            part, clock, row = <Part>self.parts[i], &self.clocks[i], &self.rows[i]
            row.group, row.penalised, row.memory = part.group, part.penalised, 1.0
            row.count = 1 if not part.fresh else 0  # where nobody counts, the first or a later one
            if part.count is not None:
                row.count = <long long>number_at(clock.count, clock.count_type)
            if part.memory is not None:
                row.memory = number_at(clock.memory, clock.memory_type)
            for r in (latest, other):
                if r >= 0 and self.rows[r].group == row.group and (
                        self.rows[r].penalised == row.penalised
                        and self.rows[r].count == row.count and self.rows[r].memory == row.memory):
                    self.tensors[i].row = r
                    row.next_memory = self.rows[r].next_memory
                    break
            else:
                self.tensors[i].row = i
                latest, other = i, latest
                hyper = &self.hypers[row.group]
                hyper.single = part.memory is not None and clock.memory_type == FR_FLOAT32
                row.next_memory = row.memory
                fr_prepare(&self.steps[i], batch.rule, hyper, <double>(row.count + 1),
                           scale * self.signs[row.group], unit, row.penalised, &row.next_memory)

    cdef void count_step(self, Batch *batch) noexcept:
        """Write down the counts of what has moved."""
        cdef Py_ssize_t i
        cdef Clock *clock
        cdef Part part
        cdef bint begun = True
        for i in range(batch.first, batch.last + 1):
            part = <Part>self.parts[i]
            if self.tensors[i].span.grad:
                clock = &self.clocks[i]
                if part.count is not None:
                    put_number(clock.count, clock.count_type, <double>(self.rows[i].count + 1))
                if part.memory is not None:
                    put_number(clock.memory, clock.memory_type, self.rows[i].next_memory)
                part.begin()
            begun = begun and not part.fresh and not part.joins
        self.begun = begun and (batch.first == 0 or self.begun)
