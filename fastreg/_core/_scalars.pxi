# Parameters that are plain numbers, which the caller's container gets anew where an array is
# written in place; and the exchange of parameters of both kinds with their averages.
#
# From _lock: exchange_bytes; _tensor: state_bytes_of, Step, Tensor, update_piece; _layerwise:
# whole_piece; _binding: Binding.

cdef void exchange_average(Binding binding, Py_ssize_t i) noexcept nogil:
    """Exchange a parameter with its average, if it has one."""
    cdef const Tensor *tensor = &binding.tensors[i]
    cdef char *param = <char *>tensor.span.param
    if not tensor.span.average:
        return
    if tensor.master:
        param = <char *>tensor.master
    exchange_bytes(param, <char *>tensor.span.average, state_bytes_of(tensor, tensor.span.n))
    if tensor.master:
        table.kernels[FR_FLOAT32].half_nearest[0](
            tensor.span.param, tensor.master, tensor.span.n, tensor.dtype)


cdef exchange_averages(Binding binding, object container):
    """Exchange every parameter with its average; if a scalar entry cannot be replaced, none."""
    cdef Py_ssize_t i
    if binding.any_scalars:
        read_scalars(binding, container)
        for i in range(binding.n_tensors):
            if binding.scalars[i] is not None:
                exchange_average(binding, i)
        try:
            write_scalars(binding, container, True)
        except BaseException:
            for i in range(binding.n_tensors):
                if binding.scalars[i] is not None:
                    exchange_average(binding, i)
            raise
    for i in range(binding.n_tensors):
        if binding.scalars[i] is None:
            exchange_average(binding, i)


cdef step_scalars(Binding binding, object container, Step *job):
    """Advance the scalar entries and replace them, or change nothing; leave arrays to do."""
    cdef Py_ssize_t i, p
    cdef list kept = []
    read_scalars(binding, container)
    for i in range(binding.n_tensors):
        if binding.scalars[i] is not None:
            for state in (*binding.states[i], *binding.scales[i]):
                if state is not None:
                    kept.append((state, state.copy()))
    job.tensors = binding.tensors
    for p in range(binding.n_pieces):
        i = binding.pieces[p].tensor
        if binding.scalars[i] is not None and binding.tensors[i].span.grad:
            if job.rule >= FR_RULE_lamb:
                whole_piece(job, &binding.pieces[p])
            else:
                update_piece(job, &binding.pieces[p])
    try:
        write_scalars(binding, container, False)
    except BaseException:
        for state, before in kept:
            memcpy(cnp.PyArray_DATA(state), cnp.PyArray_DATA(before), state.nbytes)
        raise
    for i in range(binding.n_tensors):
        if binding.scalars[i] is not None:
            binding.tensors[i].span.grad = NULL


cdef read_scalars(Binding binding, object container):
    """Take over what the scalar entries are now; everything has been checked."""
    cdef Py_ssize_t i
    for i in range(binding.n_tensors):
        if binding.scalars[i] is not None:
            binding.params[i][()] = container[binding.names[i]]


cdef write_scalars(Binding binding, object container, bint swapped):
    """Replace scalar entries by their new values, as ``params[name] -= ...`` would: all those
    that have been swapped, or moved by a step; or none."""
    cdef Py_ssize_t i
    cdef list done = [], values = []
    for i in range(binding.n_tensors):
        if binding.scalars[i] is not None and (
                binding.tensors[i].span.average != NULL if swapped
                else binding.tensors[i].span.grad != NULL):
            name = binding.names[i]
            values.append((name, container[name], binding.scalars[i](binding.params[i][()])))
    try:
        for name, before, value in values:
            done.append((name, before))
            container[name] = value
    except BaseException:
        for name, before in done:
            put_back(container, name, before)
        raise


cdef void put_back(object container, object name, object before) noexcept:
    """Set an entry to what it was, if the container lets it; nothing is allocated."""
    try:
        container[name] = before
    except BaseException:
        pass
