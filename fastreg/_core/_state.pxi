# What an optimizer holds, how it is read, saved and replaced, and the lock over it.
#
# From _lock: fr_forks, Lock; _slots: bytes_of_floats, first_bytes, floats_of_bytes, half_of, is_narrow,
# is_unsigned; _binding: Binding; _hypers: Group.

cdef object asker():
    """The calling thread, as one of this process."""
    return PyThread_get_thread_ident() + fr_forks


cdef class State:
    """One optimizer's rule, hyper-parameters, step count and state, and its lock."""

    cdef int rule, n_slots
    cdef readonly int bits  # of each number of the state: 8, 16, or 0 for those of the parameters
    cdef list groups        # of Group; the first is everyone else's
    cdef list slots         # a dictionary by name for each slot, and one for the averages
    cdef list scales        # by name, for each slot; empty but where its numbers have 8 bits
    cdef list initial       # first values of the slots, None for a copy of the parameter
    cdef dict born          # steps and the rule's memory by name, of names not bound: see settled
    cdef Binding binding
    cdef Lock lock
    cdef set asking         # threads that are asking the caller's functions
    cdef dict members       # what a predicate said, by name
    cdef object __weakref__
    cdef public object assign          # name -> (group, is it penalised?)
    cdef public str on_nonfinite
    cdef public double clip_norm       # 0: no clipping
    cdef public object measured        # norm of gradients of which this one has a part; all finite?
    cdef public dict places            # by name, of a part: its first element's place among all; see Binding
    cdef public bint maximize          # climb: steps take the gradients' negatives
    cdef readonly long long t, skipped
    cdef readonly long long start      # the count of parameters that join in the next step
    cdef readonly bint swapped         # parameters and averages have changed places
    cdef readonly bint averaged, mastered  # averages and masters come after the rule's slots
    cdef readonly uint64_t key           # of what rounding draws
    cdef readonly bint keyed, draws      # the key has been given; it has been used or will be
    cdef readonly double grad_norm     # of the last step that needed it
    cdef readonly str name

    def __cinit__(self, str name, str rule, int n_groups=1, tuple initial=(),
                  bint averaged=False, int bits=0, key=None, bint mastered=False):
        """``initial``: the first value of each slot, None for a copy of the parameter;
        ``bits``: 16 where state is kept in bfloat16, 8 where it is kept in bytes, rounded by draws
        of ``key``, which is drawn where it is None; ``mastered``: whether parameters of 16 bits have masters."""
        cdef int k
        self.name = name
        self.lock, self.asking, self.members = Lock(name, "update"), set(), {}
        self.rule = list(rules()).index(rule)
        self.n_slots = fr_rules[self.rule].slots
        self.bits = bits
        self.averaged, self.mastered, self.draws = averaged, mastered, bits > 0
        self.keyed, self.key = key is not None, key or 0
        self.groups, self.slots, self.scales, self.born = [], [], [], {}
        self.initial = list(initial) or [0.0] * self.n_slots
        for k in range(n_groups):
            self.groups.append(Group())
        for k in range(self.n_slots + averaged + mastered):
            self.slots.append({})
            self.scales.append({})
        self.initial += [None] * (averaged + mastered)
        self.on_nonfinite = "propagate"
        self.grad_norm = float("nan")

    cdef int begin(self, str method) except -1:
        """Enter the lock for a method that no function that a step asks may call."""
        self.refuse_asking(method)
        return self.lock.enter(method)

    cdef int refuse_asking(self, str method) except -1:
        if self.asking and asker() in self.asking:
            raise RuntimeError(
                f"{self.name}.{method}: called from inside its own update, by a schedule or exclude"
            )
        return 0

    def get_hyper(self, str key, int group=0):
        """A hyper-parameter: a number, or its schedule."""
        cdef Group g = self.groups[group]
        return g.schedules.get(key, g.field(key)[0])

    def set_hyper(self, str key, object value, int group=0):
        """Change a hyper-parameter from the next step on."""
        cdef Group g = self.groups[group]
        g.set(key, value)

    def halved(self, int k):
        """Whether slot ``k`` is kept in fewer bits."""
        return self.bits > 0 and is_narrow(fr_rules[self.rule].kinds, k)

    def rounds(self, int k):
        """Whether slot ``k`` is one that a narrow state rounds."""
        return is_narrow(fr_rules[self.rule].kinds, k)

    def encoded(self, int k, cnp.ndarray floats):
        """Codes and scales of a slot in 8 bits from floats in C order."""
        return bytes_of_floats(floats, is_unsigned(self.rule, k))

    def decoded(self, int k, cnp.ndarray codes, cnp.ndarray scales):
        """Floats of such a slot."""
        return floats_of_bytes(codes, scales, is_unsigned(self.rule, k))

    def rule_name(self):
        """The rule's name in the table of rules."""
        return fr_rules[self.rule].name.decode()

    def slot(self, int k):
        """State slot ``k`` by parameter name; averages and masters come after the rule's own."""
        return self.slots[k]

    def slot_scales(self, int k):
        """The scales of a slot in 8 bits, by parameter name."""
        return self.scales[k]

    def set_slot(self, int k, dict entries, dict scales=None):
        """Replace a slot, and its scales if it has some, by checked copies. Names that the
        first one lacks begin anew; those that
        are new there have taken as many steps as the optimizer."""
        cdef dict born = {}
        self.begin("state")
        try:
            if k == 0:
                settled = self.settled()
                for name in entries:
                    born[name] = settled.get(name, (self.t, 1.0))
            else:
                born = self.settled()
            self.slots[k], self.scales[k] = entries, scales or {}
            self.born, self.binding = born, None
        finally:
            self.lock.leave()

    def set_t(self, long long t):
        """Assign a count of steps to the optimizer and to every parameter."""
        cdef dict born = {}
        self.begin("t")
        try:
            for name, (_, memory) in self.settled().items():
                born[name] = t, memory if t else 1.0
            self.born, self.binding = born, None
            self.t = self.start = t
        finally:
            self.lock.leave()

    cdef dict settled(self):
        """Steps taken and the rule's memory of every parameter that has had a gradient."""
        if self.binding is not None:
            self.binding.settle(self.born)
        return self.born

    cdef dict filled(self, int k, bint scales=False):
        """Copies of a slot's arrays, or of its scales, of all parameters that have had a gradient."""
        cdef dict slot = self.scales[k] if scales else self.slots[k], copies = {}
        if scales and not (self.bits == 8 and self.halved(k)):
            return copies
        for name in self.born:
            if name in slot:
                copies[name] = slot[name].copy(order="K")
            elif k and self.initial[k] is not None:  # a slot that has been assigned without it
                first = self.initial[k]
                if self.bits == 8 and self.halved(k):
                    copies[name] = first_bytes(
                        self.slots[0][name], first, is_unsigned(self.rule, k))[scales]
                    continue
                copies[name] = np.full_like(
                    self.slots[0][name], half_of(first) if self.halved(k) else first,
                    dtype=np.uint16 if self.halved(k) else np.float32 if self.bits
                    else None)
        return copies

    def snapshot(self):
        """Everything that changes from step to step, as copies of one moment."""
        cdef int k
        cdef list slots = [], scales = []
        cdef bint inside = self.lock.enter_to_read()
        try:
            born = dict(self.settled())
            for k in range(len(self.slots)):
                slots.append(self.filled(k))
                scales.append(self.filled(k, True))
            return self.t, self.skipped, self.start, self.swapped, born, slots, scales
        finally:
            self.lock.leave_read(inside)

    def __reduce__(self):
        cdef list groups = []
        made = (self.name, self.rule_name(), len(self.groups),
                tuple(self.initial[:self.n_slots]), self.averaged, self.bits,
                self.key if self.keyed else None, self.mastered)
        snapshot = self.snapshot()
        for group in self.groups:
            groups.append((<Group>group).numbers())
        return type(self), made, (groups, self.assign, self.on_nonfinite, self.clip_norm,
                                  self.maximize, self.draws, snapshot)

    def __setstate__(self, state):
        (groups, self.assign, self.on_nonfinite, self.clip_norm, self.maximize, self.draws,
         snapshot) = state
        (self.t, self.skipped, self.start, self.swapped, self.born, self.slots,
         self.scales) = snapshot
        for group, numbers in zip(self.groups, groups):
            (<Group>group).take(numbers)

    def set_state(self, tuple snapshot, dict hypers, key):
        """Take over a state that has been checked; ``key``: None leaves this one as it is."""
        cdef Group group
        cdef list places = [], numbers = []
        cdef Py_ssize_t i
        cdef uintptr_t place
        for name, (value, members) in hypers.items():
            for k in members:
                group = self.groups[k]
                places.append(<uintptr_t>group.field(name))
                numbers.append(float(value))
        self.begin("load_state_dict")
        try:
            (self.t, self.skipped, self.start, self.swapped, self.born, self.slots,
             self.scales) = snapshot
            self.binding = None
            if key is not None:
                self.key, self.keyed, self.draws = key, True, True
            for i in range(len(places)):
                place = places[i]
                (<double *>place)[0] = numbers[i]
        finally:
            self.lock.leave()
