# The tensors of an optimizer. Parameters are bound once: checked, given state, cut into blocks. A
# step then checks only gradients and runs every block of every tensor in one parallel region.

cdef enum:
    BLOCK = 16384  # elements of one kernel call; small tensors share a unit of about this size

cdef struct Tensor:
    fr_span span
    int row                 # dtype
    int step                # which of the step's scalars: two a group, penalised and not
    const void *disjoint    # the gradient last proven to share no memory with any target

cdef struct Piece:
    Py_ssize_t tensor, start, n


cdef struct Step:
    const Tensor *tensors
    const Piece *pieces
    const Py_ssize_t *units
    const fr_step *scalars  # two a group
    double *sums            # one a piece: of `summed` over the gradient
    double scale
    int rule, summed, asked


cdef inline Py_ssize_t offset_of(const Tensor *tensor, const Piece *piece) noexcept nogil:
    return piece.start * (4 if tensor.row == FR_FLOAT32 else 8)


cdef void update_unit(const void *job, Py_ssize_t unit) noexcept nogil:
    """Advance the pieces of one unit."""
    cdef const Step *s = <const Step *>job
    cdef const Tensor *tensor
    cdef Py_ssize_t p, offset
    cdef fr_span span
    cdef int k
    for p in range(s.units[unit], s.units[unit + 1]):
        tensor = &s.tensors[s.pieces[p].tensor]
        offset = offset_of(tensor, &s.pieces[p])
        span.param = <char *>tensor.span.param + offset
        span.grad = <const char *>tensor.span.grad + offset
        for k in range(FR_MAX_SLOTS):
            span.slot[k] = <char *>tensor.span.slot[k] + offset if tensor.span.slot[k] else NULL
        span.average = <char *>tensor.span.average + offset if tensor.span.average else NULL
        span.n = s.pieces[p].n
        table.kernels[tensor.row].update[s.rule](&span, &s.scalars[tensor.step])


cdef void sum_unit(const void *job, Py_ssize_t unit) noexcept nogil:
    """Sum over the gradients of one unit, piece by piece."""
    cdef const Step *s = <const Step *>job
    cdef const Tensor *tensor
    cdef Py_ssize_t p
    for p in range(s.units[unit], s.units[unit + 1]):
        tensor = &s.tensors[s.pieces[p].tensor]
        s.sums[p] = table.kernels[tensor.row].sum[s.summed](
            <const char *>tensor.span.grad + offset_of(tensor, &s.pieces[p]), s.pieces[p].n,
            s.scale)


cdef object scalar_type(str where, object name, object value):
    """float64 for a Python number, the NumPy type for a NumPy scalar."""
    if isinstance(value, (np.float64, np.float32)):
        return type(value)
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return np.float64
    raise TypeError(
        f"{where}: params[{name!r}] must be a float32 or float64 array or a float, got "
        f"{type(value).__name__}"
    )


cdef str order_of(cnp.ndarray array):
    return "C" if cnp.PyArray_IS_C_CONTIGUOUS(array) else "F"


cdef cnp.ndarray check_target(str where, str name, object value):
    """A parameter is written in place, so it is taken as it is or refused."""
    cdef cnp.ndarray array = float_array(where, name, value)
    if not is_dense(array, True):
        raise ValueError(
            f"{where}: {name} must be contiguous and aligned to be updated in place, got strides "
            f"{value.strides} for shape {value.shape}; pass a contiguous copy"
        )
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError(f"{where}: {name} must be writeable, got a read-only array")
    return array


@cython.final
cdef class Binding:
    """The parameters of one call, proven fit to be written, with their state and blocks."""

    cdef str where
    cdef list names      # dictionary keys, or list positions
    cdef list params     # arrays; for scalar entries, 0-d cells
    cdef list scalars    # the NumPy type of a scalar entry, None for arrays
    cdef list states     # per tensor, a list of slot arrays and then the average, if any
    cdef object container  # the params of the last call, whose scalar entries are replaced
    cdef bint any_scalars
    cdef Tensor *tensors
    cdef Piece *pieces
    cdef Py_ssize_t *units        # unit u is pieces units[u] .. units[u + 1] - 1
    cdef double *sums             # one a piece
    cdef uintptr_t *starts        # address ranges of all targets, ascending
    cdef uintptr_t *ends
    cdef Py_ssize_t n_tensors, n_pieces, n_units, n_targets, grad_bytes, bytes_moved

    def __cinit__(self, str where, list names, list values, list known, list initial):
        """``known``: for each slot a dictionary of state by name; ``initial``: its first value,
        None for a copy of the parameter."""
        self.where, self.names = where, names
        self.n_tensors = len(names)
        self.params, self.scalars, self.states = [], [], []
        for name, value in zip(names, values):
            kind = None
            if not isinstance(value, cnp.ndarray):
                kind = scalar_type(where, name, value)
                value = np.array(value, dtype=kind)
            array = check_target(where, f"params[{name!r}]", value)
            self.params.append(array)
            self.scalars.append(kind)
            self.states.append(
                [self.state_of(name, array, slot, first) for slot, first in zip(known, initial)])
            self.any_scalars |= kind is not None
        self.order_targets()
        self.cut()

    def __dealloc__(self):
        PyMem_Free(self.tensors)
        PyMem_Free(self.pieces)
        PyMem_Free(self.units)
        PyMem_Free(self.sums)
        PyMem_Free(self.starts)
        PyMem_Free(self.ends)

    cdef object state_of(self, object name, object param, dict known, object initial):
        """The slot array of a tensor in the tensor's layout: new, or what is known of it."""
        state = known.get(name)
        if state is None and initial is None:
            return np.array(param, order="K", copy=True, subok=False)
        if state is None and initial == 0:
            return np.zeros_like(param, subok=False)
        if state is None:
            return np.full_like(param, initial, subok=False)
        if state.shape != param.shape or state.dtype != param.dtype:
            raise ValueError(
                f"{self.where}: params[{name!r}] must keep shape {state.shape} and dtype "
                f"{state.dtype}, got {param.shape} and {param.dtype}; use a new optimizer"
            )
        if state.strides == param.strides:
            return state
        moved = np.empty_like(param, subok=False)
        moved[...] = state
        return moved

    cdef order_targets(self):
        """Sort the address ranges of everything that is written; refuse any overlap."""
        cdef list ranges = []
        cdef Py_ssize_t i
        for name, param, states in zip(self.names, self.params, self.states):
            for array in (param, *states):
                if array.nbytes:
                    ranges.append((<uintptr_t>cnp.PyArray_DATA(array), array.nbytes, name))
        ranges.sort(key=lambda item: item[0])
        self.n_targets = len(ranges)
        self.starts = <uintptr_t *>PyMem_Malloc((self.n_targets + 1) * sizeof(uintptr_t))
        self.ends = <uintptr_t *>PyMem_Malloc((self.n_targets + 1) * sizeof(uintptr_t))
        if not self.starts or not self.ends:
            raise MemoryError()
        for i in range(self.n_targets):
            self.starts[i], nbytes, name = ranges[i]
            self.ends[i] = self.starts[i] + <uintptr_t>nbytes
            if i and self.starts[i] < self.ends[i - 1]:
                raise ValueError(
                    f"{self.where}: params[{ranges[i - 1][2]!r}] and params[{name!r}] must not "
                    "share memory, each is updated in place; copy one of them"
                )

    cdef cut(self):
        """Blocks of at most BLOCK elements, packed into units of about that size."""
        cdef Py_ssize_t i, k, n, start, count = 0, filled = 0
        for param in self.params:
            count += (<Py_ssize_t>param.size + BLOCK - 1) // BLOCK
        self.n_pieces = count
        self.tensors = <Tensor *>PyMem_Calloc(self.n_tensors + 1, sizeof(Tensor))
        self.pieces = <Piece *>PyMem_Malloc((count + 1) * sizeof(Piece))
        self.units = <Py_ssize_t *>PyMem_Malloc((count + 2) * sizeof(Py_ssize_t))
        self.sums = <double *>PyMem_Malloc((count + 1) * sizeof(double))
        if not self.tensors or not self.pieces or not self.units or not self.sums:
            raise MemoryError()
        count = 0
        self.units[0] = 0
        for i in range(self.n_tensors):
            param = self.params[i]
            n = param.size
            self.tensors[i].row = dtype_row(param)
            self.tensors[i].span.param = cnp.PyArray_DATA(param)
            self.tensors[i].span.n = n
            self.grad_bytes += param.nbytes
            self.bytes_moved += param.nbytes * (3 + 2 * len(self.states[i]))
            for start in range(0, n, BLOCK):
                self.pieces[count] = Piece(i, start, min(BLOCK, n - start))
                filled += self.pieces[count].n
                count += 1
                if filled >= BLOCK:
                    self.n_units += 1
                    self.units[self.n_units] = count
                    filled = 0
        if self.units[self.n_units] < count:
            self.n_units += 1
            self.units[self.n_units] = count

    cdef aim(self, Py_ssize_t i, int n_slots, int step):
        """Point a tensor at its state and at the scalars of its group."""
        cdef int k
        states = self.states[i]
        self.tensors[i].step = step
        for k in range(n_slots):
            self.tensors[i].span.slot[k] = cnp.PyArray_DATA(states[k])
        if len(states) > n_slots:
            self.tensors[i].span.average = cnp.PyArray_DATA(states[n_slots])

    cdef bint holds(self, Py_ssize_t i, object name, object value):
        """Whether entry i is still this name and this array, unmoved and writeable."""
        cdef cnp.ndarray array
        if name is not self.names[i] and name != self.names[i]:
            return False
        if self.scalars[i] is not None:
            if isinstance(value, cnp.ndarray):
                return False
            return scalar_type(self.where, name, value) is self.scalars[i]
        if value is not self.params[i]:
            return False
        array = <cnp.ndarray>value
        return (cnp.PyArray_DATA(array) == self.tensors[i].span.param
                and cnp.PyArray_SIZE(array) == self.tensors[i].span.n
                and dtype_row(array) == self.tensors[i].row
                and (not self.states[i] or same_shape(array, self.states[i][0]))
                and cnp.PyArray_ISWRITEABLE(array) and is_dense(array, True))

    cdef bint covers(self, object params):
        """Whether this binding is the one for these parameters."""
        cdef Py_ssize_t i = 0
        if len(params) != self.n_tensors:
            return False
        if isinstance(params, dict):
            for name, value in (<dict>params).items():
                if not self.holds(i, name, value):
                    return False
                i += 1
        else:
            for value in params:
                if not self.holds(i, i, value):
                    return False
                i += 1
        return True

    cdef int take_gradient(self, Py_ssize_t i, object grad, list held) except -1:
        """Check one gradient against its parameter and aim the span at it."""
        cdef cnp.ndarray param = <cnp.ndarray>self.params[i], array
        cdef bint c_order
        if isinstance(grad, cnp.ndarray) and cnp.PyArray_TYPE(grad) == cnp.PyArray_TYPE(param):
            array = <cnp.ndarray>grad
            if (same_shape(array, param) and cnp.PyArray_ISNOTSWAPPED(array)
                    and cnp.PyArray_ISALIGNED(array)):
                c_order = cnp.PyArray_IS_C_CONTIGUOUS(param)
                if (cnp.PyArray_IS_C_CONTIGUOUS(array) if c_order
                        else cnp.PyArray_IS_F_CONTIGUOUS(array)):
                    if (cnp.PyArray_DATA(array) == self.tensors[i].disjoint
                            or self.is_disjoint(i, array)):
                        self.tensors[i].span.grad = cnp.PyArray_DATA(array)
                        held.append(array)
                        return 0
        array = self.copy_gradient(i, grad)
        held.append(array)
        self.tensors[i].span.grad = cnp.PyArray_DATA(array)
        return 0

    cdef bint is_disjoint(self, Py_ssize_t i, cnp.ndarray grad):
        """Whether a gradient shares no memory with anything this step writes."""
        cdef uintptr_t start = <uintptr_t>cnp.PyArray_DATA(grad)
        cdef uintptr_t end = start + <uintptr_t>cnp.PyArray_NBYTES(grad)
        cdef Py_ssize_t low = 0, high = self.n_targets, middle
        while low < high:  # the first target that begins at or after the gradient's end
            middle = (low + high) // 2
            if self.starts[middle] < end:
                low = middle + 1
            else:
                high = middle
        if low and self.ends[low - 1] > start:
            return False
        self.tensors[i].disjoint = <const void *>start
        return True

    cdef cnp.ndarray copy_gradient(self, Py_ssize_t i, object grad):
        """A gradient in the parameter's layout and memory of its own, or the reason it can't be."""
        param = self.params[i]
        name = f"grads[{self.names[i]!r}]"
        if self.scalars[i] is not None and not isinstance(grad, cnp.ndarray):
            if scalar_type(self.where, name, grad) is self.scalars[i] or type(grad) in (float, int):
                return np.array(grad, dtype=param.dtype)
        array = float_array(self.where, name, grad)
        if array.dtype != param.dtype:
            raise TypeError(
                f"{self.where}: {name} must have its parameter's dtype {param.dtype}, got "
                f"{array.dtype}; convert it with astype"
            )
        if array.shape != param.shape:
            raise ValueError(
                f"{self.where}: {name} must have its parameter's shape {param.shape}, got "
                f"{array.shape}"
            )
        return np.array(array, order=order_of(param), copy=True, subok=False)

    cdef take_gradients(self, object grads):
        """Aim every span at its gradient; return what must stay alive until the step is done."""
        cdef Py_ssize_t i
        cdef list held = []
        if isinstance(grads, dict):
            if len(grads) != self.n_tensors:
                self.refuse_names(grads)
            for i in range(self.n_tensors):
                grad = (<dict>grads).get(self.names[i])
                if grad is None:
                    self.refuse_names(grads)
                self.take_gradient(i, grad, held)
        else:
            if len(grads) != self.n_tensors:
                raise ValueError(
                    f"{self.where}: grads must have one entry for each of {self.n_tensors} "
                    f"parameters, got {len(grads)}"
                )
            for i in range(self.n_tensors):
                self.take_gradient(i, grads[i], held)
        return held

    cdef refuse_names(self, dict grads):
        missing = [name for name in self.names if grads.get(name) is None]
        extra = [name for name in grads if name not in self.names]
        raise ValueError(
            f"{self.where}: grads must have exactly the names of params; missing {missing}, "
            f"not in params {extra}"
        )

    cdef void run(self, fr_task task, Step *job, Py_ssize_t nbytes) noexcept nogil:
        """Run a task over all units, with as many threads as the bytes are worth."""
        job.tensors, job.pieces, job.units = self.tensors, self.pieces, self.units
        job.sums = self.sums
        fr_run_tasks(task, job, self.n_units, nbytes, job.asked, False)

    cdef double sum_of(self, int what, Step *job) noexcept nogil:
        """A sum over all gradients, piece after piece."""
        cdef double total = 0
        cdef Py_ssize_t p
        job.summed = what
        self.run(sum_unit, job, self.grad_bytes)
        for p in range(self.n_pieces):
            total += self.sums[p]
        return total

    cdef bint finite(self, Py_ssize_t i) noexcept:
        """Whether a gradient's pieces were found to hold neither NaN nor infinity."""
        cdef Py_ssize_t p
        for p in range(self.n_pieces):
            if self.pieces[p].tensor == i and self.sums[p]:
                return False
        return True

    cdef void swap_averages(self, int n_slots) noexcept nogil:
        """Exchange every parameter with its average."""
        cdef char buffer[4096]
        cdef char *a
        cdef char *b
        cdef Py_ssize_t i, left, part
        for i in range(self.n_tensors):
            a, b = <char *>self.tensors[i].span.param, <char *>self.tensors[i].span.average
            left = self.tensors[i].span.n * (4 if self.tensors[i].row == FR_FLOAT32 else 8)
            while left:
                part = min(left, <Py_ssize_t>sizeof(buffer))
                memcpy(buffer, a, part)
                memcpy(a, b, part)
                memcpy(b, buffer, part)
                a, b, left = a + part, b + part, left - part

    cdef read_scalars(self):
        """Take over what the scalar entries are now; everything has been checked."""
        cdef Py_ssize_t i
        for i in range(self.n_tensors):
            if self.scalars[i] is not None:
                self.params[i][()] = self.container[self.names[i]]

    cdef write_scalars(self):
        """Replace scalar entries by the new values, as ``params[name] -= ...`` would."""
        cdef Py_ssize_t i
        for i in range(self.n_tensors):
            if self.scalars[i] is not None:
                self.container[self.names[i]] = self.scalars[i](self.params[i][()])
