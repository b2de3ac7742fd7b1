# The tensors of an optimizer. Parameters are bound once: checked, given state, cut into blocks. A
# step then checks only gradients and runs every block of every tensor in one parallel region.
#
# From _arrays: is_block, is_masked, same_layout; _halves: is_half, param_array, param_row; _matrix:
# BLOCK; _gradient: laid_out, scalar_type; _slots: coded_slot, is_narrow, is_unsigned, state_of;
# _tensor: Piece, Row, Step, Tensor.

cdef cnp.ndarray check_target(str where, str name, object value):
    """A parameter is written in place, so it is taken as it is or refused."""
    cdef cnp.ndarray array = param_array(where, name, value)
    if not is_block(array):
        raise ValueError(
            f"{where}: {name} must be contiguous, in any order of its axes, and aligned to be "
            f"updated in place, got strides {value.strides} for shape {value.shape}; pass a "
            "contiguous copy"
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
    cdef list scales     # per tensor, one array for each slot that is kept in 8 bits, or None
    cdef object container  # the params of the last call, whose scalar entries are replaced
    cdef const char *kinds  # how each slot is rounded to fewer bits; NULL: as the parameters
    cdef int rule, bits     # how many: 8 or 16
    cdef bint averaged, mastered  # the states end with an average, with a master; see add
    cdef bint draws      # some parameter of 16 bits has no master
    cdef bint any_scalars
    cdef bint partial    # this step leaves some tensor alone
    cdef bint newborn    # a tensor that had been left alone until now has a gradient
    cdef Tensor *tensors
    cdef Row *rows
    cdef fr_step *steps           # one per row
    cdef Piece *pieces
    cdef Py_ssize_t *units        # unit u is pieces units[u] .. units[u + 1] - 1
    cdef double *sums             # two per piece
    cdef uintptr_t *starts        # address ranges of all targets, ascending
    cdef uintptr_t *ends
    cdef Py_ssize_t n_tensors, n_rows, n_pieces, n_units, n_targets, grad_bytes, bytes_moved

    def __cinit__(self, str where, list names, list values, list known, list scales,
                  list initial, dict before, dict born, int rule, int bits, bint averaged,
                  bint mastered, dict places):
        """``known``: for each slot a dictionary of state by name, ``scales``: of scales, where state
        is kept in 8 ``bits`` (16: in bfloat16, 0: as the parameters); ``initial``: a slot's first
        value, None for a copy of the parameter. The names ``before`` have state, that of all others
        among the ``born`` begins now, and the rest have none. ``averaged``, ``mastered``: whether averages come
        after the slots, and then masters, which parameters of 16 bits alone have. ``places``: by name,
        the place of the first element among all that draw, where these are parts of parameters, or
        None; multiples of BLOCK after the place of the whole one, so that a part draws as it would there."""
        cdef Py_ssize_t i
        self.where, self.names = where, names
        self.averaged, self.mastered = averaged, mastered
        self.rule, self.bits = rule, bits
        self.kinds = fr_rules[rule].kinds if bits else NULL
        self.n_tensors = len(names)
        self.params, self.scalars, self.states, self.scales = [], [], [], []
        for i in range(self.n_tensors):
            self.add(names[i], values[i], known if names[i] in before else None, scales, initial,
                     names[i] in born)
        self.order_targets()
        self.cut(places)

    def __dealloc__(self):
        PyMem_Free(self.tensors)
        PyMem_Free(self.rows)
        PyMem_Free(self.steps)
        PyMem_Free(self.pieces)
        PyMem_Free(self.units)
        PyMem_Free(self.sums)
        PyMem_Free(self.starts)
        PyMem_Free(self.ends)

    cdef add(self, object name, object value, list known, list scales, list initial,
             bint born):
        """Check one parameter and give it its state."""
        cdef Py_ssize_t k
        cdef list states = [], own = []
        cdef bint half
        kind = None
        if not isinstance(value, cnp.ndarray):
            kind = scalar_type(self.where, name, value)
            value = np.array(value, dtype=kind)
        array = check_target(self.where, f"params[{name!r}]", value)
        if self.kinds and param_row(array) == FR_FLOAT64:
            raise TypeError(
                f"{self.where}: params[{name!r}] must be float32 where state_dtype is "
                f"{'int8' if self.bits == 8 else 'bfloat16'!r}, or have 16 bits, got {array.dtype}; convert it with "
                "astype (a norm's gamma and beta may be assigned), or leave state_dtype out"
            )
        if self.bits == 8 and not cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>array):
            raise ValueError(
                f"{self.where}: params[{name!r}] must be contiguous in C order where state_dtype is "
                f"'int8', got strides {value.strides} for shape {value.shape}; pass a contiguous "
                "copy, or take 'bfloat16'"
            )
        half = is_half(param_row(array))
        if half and self.averaged and not self.mastered:
            raise TypeError(
                f"{self.where}: params[{name!r}] must be float32 or float64 to have an average, got "
                f"{array.dtype}; give the optimizer master=True"
            )
        self.draws |= half and not self.mastered
        if born:
            for k in range(len(initial) - (self.mastered and not half)):
                state, scale = known[k].get(name) if known is not None else None, None
                if self.bits == 8 and is_narrow(self.kinds, k):
                    state, scale = coded_slot(
                        self.where, name, array, state, scales[k].get(name), initial[k],
                        is_unsigned(self.rule, k))
                else:
                    state = state_of(self.where, name, array, state, initial[k],
                                     is_narrow(self.kinds, k))
                states.append(state)
                own.append(scale)
        self.params.append(array)
        self.scalars.append(kind)
        self.states.append(states)
        self.scales.append(own)
        self.any_scalars |= kind is not None

    cdef order_targets(self):
        """Sort the address ranges of everything that is written; refuse any overlap."""
        cdef list ranges = []
        cdef Py_ssize_t i
        for i in range(self.n_tensors):
            for array in (self.params[i], *self.states[i], *self.scales[i]):
                if array is not None and array.nbytes:
                    ranges.append(
                        (<uintptr_t>cnp.PyArray_DATA(array), array.nbytes, self.names[i]))
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

    cdef cut(self, dict places):
        """Blocks of at most BLOCK elements, packed into units of about that size."""
        cdef Py_ssize_t i, k, n, start, count = 0, filled = 0, drawn = 0
        for param in self.params:
            count += (<Py_ssize_t>param.size + BLOCK - 1) // BLOCK
        self.n_pieces = count
        self.tensors = <Tensor *>PyMem_Calloc(self.n_tensors + 1, sizeof(Tensor))
        self.rows = <Row *>PyMem_Calloc(self.n_tensors + 1, sizeof(Row))
        self.steps = <fr_step *>PyMem_Calloc(self.n_tensors + 1, sizeof(fr_step))
        self.pieces = <Piece *>PyMem_Malloc((count + 1) * sizeof(Piece))
        self.units = <Py_ssize_t *>PyMem_Malloc((count + 2) * sizeof(Py_ssize_t))
        self.sums = <double *>PyMem_Malloc((2 * count + 1) * sizeof(double))
        if not self.tensors or not self.rows or not self.steps or not self.pieces or not self.units or not self.sums:
            raise MemoryError()
        count = 0
        self.units[0] = 0
        for i in range(self.n_tensors):
            param = self.params[i]
            n = param.size
            self.tensors[i].dtype = param_row(param)
            self.tensors[i].span.param = cnp.PyArray_DATA(param)
            self.tensors[i].span.n = n
            self.grad_bytes += param.nbytes
            self.bytes_moved += param.nbytes * 3
            for state in self.states[i]:
                self.bytes_moved += 2 * state.nbytes
            self.tensors[i].kinds, self.tensors[i].bits = self.kinds, self.bits
            self.tensors[i].first = <uint64_t>(drawn if places is None else places[self.names[i]])
            drawn += (n + FR_MASK_GROUP - 1) // FR_MASK_GROUP * FR_MASK_GROUP
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

    cdef aim(self, int n_slots, list kinds, dict born):
        """Point every tensor at its state and at a row, its own or that of its like.

        ``kinds``: group of each tensor, and whether decay and penalties apply."""
        cdef Py_ssize_t i
        cdef int k
        cdef dict rows = {}
        for i in range(self.n_tensors):
            states = self.states[i]
            self.tensors[i].born = self.names[i] in born
            for k in range(len(states)):
                if k < n_slots:
                    self.tensors[i].span.slot[k] = cnp.PyArray_DATA(states[k])
                elif k == n_slots and self.averaged:
                    self.tensors[i].span.average = cnp.PyArray_DATA(states[k])
                else:
                    self.tensors[i].master = <float *>cnp.PyArray_DATA(states[k])
                if self.scales[i][k] is not None:
                    self.tensors[i].scale[k] = <int16_t *>cnp.PyArray_DATA(self.scales[i][k])
            count, memory = born.get(self.names[i], (0, 1.0))
            group, penalised = kinds[i]
            key = group, penalised, count, memory
            if key not in rows:
                rows[key] = len(rows)
                self.rows[len(rows) - 1] = Row(
                    group=group, penalised=penalised, active=True, count=count, memory=memory,
                    next_memory=memory, idle=0)
            self.tensors[i].row = rows[key]
        self.n_rows = len(rows)

    cdef void split(self) noexcept nogil:
        """Part the tensors that this step leaves alone from those of their row that it moves."""
        cdef Py_ssize_t i, r, before = self.n_rows
        for r in range(before):
            self.rows[r].active, self.rows[r].idle = False, -1
        for i in range(self.n_tensors):
            if self.tensors[i].span.grad:
                self.rows[self.tensors[i].row].active = True
        for i in range(self.n_tensors):
            r = self.tensors[i].row
            if self.tensors[i].span.grad or not self.rows[r].active:
                continue
            if self.rows[r].idle < 0:
                self.rows[r].idle = self.n_rows
                self.rows[self.n_rows] = self.rows[r]
                self.rows[self.n_rows].active = False
                self.n_rows += 1
            self.tensors[i].row = self.rows[r].idle

    cdef void count_step(self) noexcept nogil:
        """Advance the rows that a step has moved."""
        cdef Py_ssize_t r
        for r in range(self.n_rows):
            if self.rows[r].active:
                self.rows[r].count += 1
                self.rows[r].memory = self.rows[r].next_memory
            self.rows[r].active = True

    cdef settle(self, dict born):
        """Write down the counts of all tensors that have one."""
        cdef Py_ssize_t i
        cdef const Row *row
        for i in range(self.n_tensors):
            if self.tensors[i].born:
                row = &self.rows[self.tensors[i].row]
                born[self.names[i]] = row.count, row.memory

    cdef bint holds(self, Py_ssize_t i, object name, object value):
        """Whether entry i is still this name and this array, unmoved and writeable."""
        cdef cnp.ndarray array
        cdef list states
        if name is not self.names[i] and name != self.names[i]:
            return False
        if self.scalars[i] is not None:
            if isinstance(value, cnp.ndarray):
                return False
            return scalar_type(self.where, name, value) is self.scalars[i]
        if value is not self.params[i]:
            return False
        array, states = <cnp.ndarray>value, <list>self.states[i]
        return (cnp.PyArray_DATA(array) == self.tensors[i].span.param
                and param_row(array) == self.tensors[i].dtype
                and (same_layout(array, <cnp.ndarray>states[0]) if states
                     else cnp.PyArray_SIZE(array) == self.tensors[i].span.n)
                and cnp.PyArray_ISWRITEABLE(array) and is_block(array))

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
        """Check one gradient against its parameter and aim the span at it, or at nothing."""
        cdef cnp.ndarray param = <cnp.ndarray>self.params[i], array
        if grad is None:
            self.tensors[i].span.grad = NULL
            self.partial = True
            return 0
        self.newborn |= not self.tensors[i].born
        if isinstance(grad, cnp.ndarray) and cnp.PyArray_TYPE(grad) == cnp.PyArray_TYPE(param):
            array = <cnp.ndarray>grad
            if (same_layout(array, param) and cnp.PyArray_ISNOTSWAPPED(array)
                    and cnp.PyArray_ISALIGNED(array) and not is_masked(grad)):
                if (cnp.PyArray_DATA(array) == self.tensors[i].disjoint
                        or self.is_disjoint(i, array)):
                    self.tensors[i].span.grad = cnp.PyArray_DATA(array)
                    held.append(array)
                    return 0
        array = laid_out(self.where, f"grads[{self.names[i]!r}]", grad, param)
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

    cdef take_gradients(self, object grads):
        """Aim every span at its gradient; return what must stay alive until the step is done."""
        cdef Py_ssize_t i
        cdef list held = []
        self.partial = self.newborn = False
        if isinstance(grads, dict):
            for i in range(self.n_tensors):
                grad = (<dict>grads).get(self.names[i])
                if grad is None and self.names[i] not in <dict>grads:
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
        cdef list missing = [], extra = []
        for name in self.names:
            if name not in grads:
                missing.append(name)
        for name in grads:
            if name not in self.names:
                extra.append(name)
        raise ValueError(
            f"{self.where}: grads must have the names of params; missing {missing}, not in params "
            f"{extra}; None leaves a parameter alone"
        )

    cdef void run(self, fr_task task, Step *job, Py_ssize_t nbytes) noexcept nogil:
        """Run a task over all units, with as many threads as the bytes are worth."""
        self.lend(job)
        fr_run_tasks(task, job, self.n_units, nbytes, job.asked, False)

    cdef void lend(self, Step *job) noexcept nogil:
        job.tensors, job.pieces, job.units = self.tensors, self.pieces, self.units
        job.sums = self.sums

    cdef list not_finite(self):
        """The names of gradients that were found to hold NaN or infinity."""
        cdef Py_ssize_t p
        cdef list names = []
        for p in range(self.n_pieces):
            name = self.names[self.pieces[p].tensor]
            if self.sums[p] and name not in names:
                names.append(name)
        return names
