# The hyper-parameters of a group of parameters, and the schedules that some of them follow.

@cython.final
cdef class Group:
    """Hyper-parameters shared by the parameters whose names match."""

    cdef fr_hyper hyper
    cdef dict schedules  # name of a hyper-parameter: function of the step

    def __cinit__(self):
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
        cdef list values = []
        for i in range(fr_hyper_count):
            values.append(first[i])
        return values, self.schedules

    cdef take(self, tuple numbers):
        """Take over another group's numbers."""
        cdef int i
        cdef double *first = <double *>&self.hyper
        for i in range(fr_hyper_count):
            first[i] = numbers[0][i]
        self.schedules = dict(numbers[1])

    cdef dict ask(self, str where, long long t):
        """The values of the schedules at step t, by name of the hyper-parameter."""
        cdef dict values = {}
        for name, schedule in list(self.schedules.items()):
            value = schedule(t)
            number = -1.0
            if not isinstance(value, (bool, np.bool_, str, bytes, bytearray)):
                try:
                    number = -1.0 if getattr(value, "ndim", 0) else float(value)
                except (TypeError, ValueError, OverflowError):
                    pass
            if not 0.0 <= number < float("inf"):
                raise ValueError(
                    f"{where}: the schedule of {name} must give a finite number of at least 0, "
                    f"got {value!r} at step {t}"
                )
            values[name] = number
        return values
