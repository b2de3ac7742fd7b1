# The tensors of an optimizer of another library, a parameter with its state each, in their own
# memory.
#
# Nothing is remembered of where a tensor lies: each step reads it anew, 70 ns each, and finds what
# has been moved, reloaded or replaced since. The state, too, is the other library's own tensors,
# counts of steps among them.
#
# From _lock: Lock; _matrix: BLOCK; _halves: is_half; _tensor: bytes_of, Piece, Row, state_bytes_of,
# Tensor; _exchange: fr_dl_table, fr_dl_tensor, is_compact, lies_alike, number_at, param_type_of,
# place_of, size_of, table_of, type_of.

cdef extern from "Python.h":
    bint next_entry "PyDict_Next"(object, Py_ssize_t *, PyObject **, PyObject **)
    PyObject *entry_of "PyDict_GetItemWithError"(object, object) except? NULL


cdef struct Batch:
    # Tensors that are updated in one region: those of one rule; where some share memory, one each.
    int rule
    Py_ssize_t first, last, unit, units, nbytes


cdef struct Clock:
    # Where a part's count of steps and its rule's memory are, and in what type; or NULL.
    char *count
    char *memory
    int count_type, memory_type


@cython.final
cdef class Part:
    """A parameter with its state: tensors by key, of which the first are the rule's slots, then the
    average if there is one, then the master. ``count`` and ``memory`` are tensors of one element, or None."""

    cdef readonly object param, count, memory
    cdef readonly str name
    cdef readonly dict state        # the optimizer's own; not yet in its books if ``joins``
    cdef readonly tuple keys, tensors
    cdef readonly bint joins        # it begins with this step
    cdef readonly dict fresh        # what of its state begins with this step, or None
    cdef bint penalised
    cdef int rule, group

    def __init__(self, str name, param, int group, int rule, bint penalised, dict state,
                 bint joins, dict fresh, tuple keys, str count, str memory):
        self.name, self.param, self.group, self.rule = name, param, group, rule
        self.penalised, self.state, self.joins, self.fresh = penalised, state, joins, fresh
        whole = state | fresh if fresh else state
        self.tensors = tuple(map(whole.__getitem__, keys))
        self.keys = keys
        self.count = None if count is None else whole[count]
        self.memory = None if memory is None else whole[memory]

    cdef void begin(self) noexcept:
        """Its first step is taken."""
        self.fresh, self.joins = None, False


cdef class TensorParts:
    """The parts of an optimizer: as they were bound, and where a step finds them."""

    cdef str name
    cdef const fr_dl_table *table
    cdef list fields, flags, parts, books   # books: the optimizer's state, key after entry
    cdef object rule_of, refused, laid_out, written
    cdef Lock lock
    cdef fr_hyper *hypers       # one per group
    cdef double *signs
    cdef Tensor *tensors        # one per part
    cdef Clock *clocks
    cdef fr_dl_tensor *params   # as this step finds them
    cdef Row *rows
    cdef fr_step *steps
    cdef Piece *pieces
    cdef Py_ssize_t *units      # unit u is pieces units[u] .. units[u + 1] - 1
    cdef double *sums
    cdef Batch *batches
    cdef list targets           # address ranges of all that is written, ascending
    cdef Py_ssize_t n_groups, n_parts, n_pieces, n_units, n_batches, grad_bytes
    cdef bint shared            # some parts share memory
    cdef bint begun             # nothing of the parts is fresh
    cdef readonly bint draws    # some parameter of 16 bits has no master

    def __cinit__(self, str name, table, list fields, list flags, rule_of, refused, laid_out,
                  written):
        cdef int i
        self.name, self.lock = name, Lock(name, "step")
        self.table = table_of(name, table)
        self.fields, self.parts, self.books, self.targets = [], [], [], []
        self.flags = flags
        for key, field, item, least, most, default in fields:
            for i in range(fr_hyper_count):
                if fr_hyper_names[i].decode() == field:
                    self.fields.append((key, i, item, least, most, default))
        self.rule_of, self.refused, self.laid_out, self.written = (
            rule_of, refused, laid_out, written)

    def __dealloc__(self):
        self.free()

    cdef void free(self) noexcept:
        PyMem_Free(self.hypers)
        PyMem_Free(self.signs)
        PyMem_Free(self.tensors)
        PyMem_Free(self.clocks)
        PyMem_Free(self.params)
        PyMem_Free(self.rows)
        PyMem_Free(self.steps)
        PyMem_Free(self.pieces)
        PyMem_Free(self.units)
        PyMem_Free(self.sums)
        PyMem_Free(self.batches)
        self.hypers, self.signs, self.tensors, self.clocks = NULL, NULL, NULL, NULL
        self.rows, self.steps, self.pieces, self.units = NULL, NULL, NULL, NULL
        self.sums, self.batches, self.params = NULL, NULL, NULL

    def bind(self, list parts, Py_ssize_t n_groups, state):
        """Take these parts, in the order of the groups, until one of them is another."""
        self.lock.enter("step")
        try:
            self.parts, self.begun = [], False
            self.n_parts = self.n_groups = 0
            self.free()
            self.allocate(parts, n_groups)
            self.parts, self.n_parts, self.n_groups = parts, len(parts), n_groups
            self.order()
            self.remember(state)
        finally:
            self.lock.leave()

    cdef allocate(self, list parts, Py_ssize_t n_groups):
        cdef Py_ssize_t n = len(parts) + 1, count = 0, drawn = 0, i
        cdef fr_dl_tensor t
        cdef Part part
        self.draws = False
        self.tensors = <Tensor *>PyMem_Calloc(n, sizeof(Tensor))
        self.clocks = <Clock *>PyMem_Calloc(n, sizeof(Clock))
        self.params = <fr_dl_tensor *>PyMem_Calloc(n, sizeof(fr_dl_tensor))
        self.rows = <Row *>PyMem_Calloc(n, sizeof(Row))
        self.steps = <fr_step *>PyMem_Calloc(n, sizeof(fr_step))
        self.batches = <Batch *>PyMem_Calloc(n, sizeof(Batch))
        self.hypers = <fr_hyper *>PyMem_Calloc(n_groups + 1, sizeof(fr_hyper))
        self.signs = <double *>PyMem_Calloc(n_groups + 1, sizeof(double))
        if (not self.tensors or not self.clocks or not self.params or not self.rows
                or not self.steps or not self.batches or not self.hypers or not self.signs):
            raise MemoryError()
        for i in range(len(parts)):
            part = parts[i]
            self.table.borrow(<void *>part.param, &t)
            self.tensors[i].span.n = size_of(&t)
            self.tensors[i].dtype = param_type_of(&t)
            self.tensors[i].row = i
            self.tensors[i].first = <uint64_t>drawn
            drawn += (size_of(&t) + FR_MASK_GROUP - 1) // FR_MASK_GROUP * FR_MASK_GROUP
            self.draws |= is_half(self.tensors[i].dtype) and "master" not in part.keys
            count += (self.tensors[i].span.n + BLOCK - 1) // BLOCK
        self.pieces = <Piece *>PyMem_Malloc((count + 1) * sizeof(Piece))
        self.units = <Py_ssize_t *>PyMem_Malloc((count + n + 2) * sizeof(Py_ssize_t))
        self.sums = <double *>PyMem_Malloc((count + 1) * sizeof(double))
        if not self.pieces or not self.units or not self.sums:
            raise MemoryError()

    cdef remember(self, state):
        """Note what is in the optimizer's books, to see whether they are still the same."""
        self.books = []
        for key, entry in state.items():
            self.books.append(key)
            self.books.append(entry)

    cdef order(self):
        """Sort what is written by address, and cut the parts into blocks and batches."""
        cdef Py_ssize_t i
        cdef uintptr_t start, nbytes, end = 0
        cdef list ranges = []
        cdef bint shared = False
        cdef Part part
        cdef fr_dl_tensor t
        for i in range(self.n_parts):
            part = self.parts[i]
            self.table.borrow(<void *>part.param, &t)
            ranges.append((<uintptr_t>place_of(&t), bytes_of(&self.tensors[i], size_of(&t))))
            for tensor in part.tensors:
                self.table.borrow(<void *>tensor, &t)
                ranges.append(
                    (<uintptr_t>place_of(&t), state_bytes_of(&self.tensors[i], size_of(&t))))
            self.tensors[i].disjoint = NULL
        ranges.sort()
        for start, nbytes in ranges:
            shared |= start < end and nbytes > 0
            end = max(end, start + nbytes)
        self.targets, self.shared = ranges, shared
        self.cut()

    cdef void cut(self) noexcept:
        """Batches of one rule, in units of about BLOCK elements."""
        cdef Py_ssize_t i, start, n, filled = 0
        cdef Batch *batch = NULL
        cdef Part part
        self.n_pieces = self.n_units = self.n_batches = self.grad_bytes = 0
        self.units[0] = 0
        for i in range(self.n_parts):
            part = <Part>self.parts[i]
            if batch == NULL or self.shared or batch.rule != part.rule:
                self.close_unit()
                batch = &self.batches[self.n_batches]
                self.n_batches += 1
                batch.rule, batch.first, batch.unit = part.rule, i, self.n_units
                batch.nbytes = filled = 0
            n = self.tensors[i].span.n
            self.grad_bytes += bytes_of(&self.tensors[i], n)
            batch.nbytes += bytes_of(&self.tensors[i], n) * 3
            batch.nbytes += state_bytes_of(&self.tensors[i], n) * 2 * len(part.tensors)
            batch.last = i
            for start in range(0, n, BLOCK):
                self.pieces[self.n_pieces] = Piece(i, start, min(BLOCK, n - start))
                filled += self.pieces[self.n_pieces].n
                self.n_pieces += 1
                if filled >= BLOCK:
                    self.close_unit()
                    filled = 0
            batch.units = self.n_units - batch.unit + (self.units[self.n_units] < self.n_pieces)
        self.close_unit()

    cdef void close_unit(self) noexcept:
        if self.units[self.n_units] < self.n_pieces:
            self.n_units += 1
            self.units[self.n_units] = self.n_pieces

    cdef bint covers(self, list groups, state, list grads) except -1:
        """Whether these are the parts of these groups and this state; their gradients, None where a
        part is left alone."""
        cdef Py_ssize_t i = 0, g, k, place = 0
        cdef PyObject *key
        cdef PyObject *entry
        cdef Part part
        cdef int rule
        cdef bint coupled
        for g in range(self.n_groups):
            group = groups[g]
            if type(group) is not dict or type(group.get("params")) is not list:
                return False
            self.read(g, group, &self.hypers[g])
            rule, coupled = self.rule_of(group)
            self.hypers[g].coupled = coupled
            self.signs[g] = -1.0 if group.get("maximize") else 1.0
            for param in <list>group["params"]:
                try:
                    grad = param.grad
                except AttributeError:
                    return False
                part = <Part>self.parts[i] if i < self.n_parts else None
                if part is None or part.param is not param or part.group != g:
                    if grad is None:
                        continue
                    return False
                if part.rule != rule:
                    return False
                grads.append(grad)
                i += 1
        if i != self.n_parts or len(state) * 2 != len(self.books):
            return False
        i = 0
        while next_entry(state, &place, &key, &entry):
            if key != <PyObject *>self.books[i] or entry != <PyObject *>self.books[i + 1]:
                return False
            i += 2
        for i in range(self.n_parts):
            part = <Part>self.parts[i]
            if part.fresh or part.joins:
                continue
            for k in range(len(part.keys)):
                if entry_of(part.state, part.keys[k]) != <PyObject *>part.tensors[k]:
                    return False
            if part.count is not None and entry_of(part.state, "step") != <PyObject *>part.count:
                return False
            if part.memory is not None and (
                    entry_of(part.state, "mu_product") != <PyObject *>part.memory):
                return False
        return True

    def check(self, list groups):
        """Refuse groups with settings that no step can use."""
        cdef fr_hyper hyper
        cdef Py_ssize_t g
        for g in range(len(groups)):
            self.read(g, groups[g], &hyper)

    cdef read(self, Py_ssize_t g, dict group, fr_hyper *hyper):
        """The numbers of a group, each within its bounds."""
        cdef double *numbers = <double *>hyper
        cdef double number
        cdef int item
        for flag, possible in self.flags:
            try:
                if not group.get(flag) or possible:
                    continue
            except Exception:  # an array is neither true nor false
                pass
            raise self.refused(self.name, g, group, flag)
        for key, field, item, least, most, default in self.fields:
            value = group.get(key, default)
            try:
                if item >= 0 and len(value) != 2:
                    raise TypeError
                number = value if item < 0 else value[item]
            except Exception:
                raise self.refused(self.name, g, group, key) from None
            if not <double>least <= number <= <double>most:
                raise self.refused(self.name, g, group, key)
            numbers[<int>field] = number
        hyper.compat = FR_TORCH
        hyper.lambda_prox = 0.0
        mode = group.get("l1_mode")
        if mode is not None and mode != "subgradient":
            if mode != "prox":
                raise self.refused(self.name, g, group, "l1_mode")
            hyper.lambda_prox, hyper.lambda_l1 = hyper.lambda_l1, 0.0

    cdef bint locate(self, bint *moved) except -1:
        """Find where everything lies, and whether it has been ``moved``; False where types or
        layouts are others."""
        cdef Py_ssize_t i, k
        cdef void *place
        cdef double count
        cdef Part part
        cdef fr_dl_tensor t
        cdef fr_dl_tensor *param
        cdef Tensor *tensor
        for i in range(self.n_parts):
            part, tensor, param = <Part>self.parts[i], &self.tensors[i], &self.params[i]
            self.table.borrow(<void *>part.param, param)
            if param_type_of(param) != tensor.dtype or size_of(param) != tensor.span.n or (
                    not is_compact(param)):
                return False
            moved[0] |= tensor.span.param != place_of(param)
            tensor.span.param = place_of(param)
            for k in range(len(part.tensors)):
                self.table.borrow(<void *>part.tensors[k], &t)
                if not lies_alike(
                        &t, param, FR_FLOAT32 if is_half(tensor.dtype) else tensor.dtype):
                    return False
                place = place_of(&t)
                if k < fr_rules[part.rule].slots:
                    moved[0] |= tensor.span.slot[k] != place
                    tensor.span.slot[k] = place
                elif part.keys[k] == "ema":
                    moved[0] |= tensor.span.average != place
                    tensor.span.average = place
                else:
                    moved[0] |= <char *>tensor.master != place
                    tensor.master = <float *>place
            if part.count is not None:
                self.table.borrow(<void *>part.count, &t)
                if type_of(&t) < 0 or size_of(&t) != 1:
                    return False
                self.clocks[i].count, self.clocks[i].count_type = place_of(&t), type_of(&t)
                count = number_at(self.clocks[i].count, self.clocks[i].count_type)
                if not (0 <= count <= 2.0**53 and count == <double><long long>count):
                    return False
            if part.memory is not None:
                self.table.borrow(<void *>part.memory, &t)
                if type_of(&t) < 0 or size_of(&t) != 1:
                    return False
                self.clocks[i].memory, self.clocks[i].memory_type = place_of(&t), type_of(&t)
        return True
