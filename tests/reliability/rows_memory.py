"""M: memory and threads."""

import shutil

from charter import kept_by, row
from drivers import CLANG, build, edited, remove, run

#: A branch on what was not set, with the same result either way: only a tool can notice it.
unset_scalar = edited(
    (
        "csrc/penalty_tmpl.h",
        "const real a = (real)a_, b = (real)b_;\n    const ptrdiff_t run = stream",
        "volatile real unset[2], same = 0;\n    if (unset[a_ != a_] > 0)\n        same = 0;\n"
        "    const real a = (real)a_, b = (real)b_;\n"
        "    const ptrdiff_t run = stream",
    )
)
unordered = edited(
    ("csrc/team.c", "lanes[k].end - lanes[k].begin,\n                              memory_order_release",
     "lanes[k].end - lanes[k].begin,\n                              memory_order_relaxed"),
    ("csrc/team.c", "atomic_fetch_add(&team.region, 1);",
     "atomic_fetch_add_explicit(&team.region, 1, memory_order_relaxed);"),
)  # fmt: skip
unset_scalar.__name__, unordered.__name__ = "unset_scalar", "unordered"


def needs(tool):
    return lambda: "" if tool and shutil.which(tool) else "the tool is not installed"


def driven(n, driver, *flags, finding, kernels=True, **environment):
    """A driver's lines, run n times in a program that is compiled for it; `finding` is the tool's."""
    program = build(driver, "-g", "-O1", *flags, compiler=CLANG, kernels=kernels)
    try:
        outputs = [run(program, finding=finding, **environment) for _ in range(n)]
    finally:
        remove(program)
    return sum(len(output.splitlines()) for output in outputs)


@row(
    "M-03",
    "the thread sanitizer finds no race in the team: many callers, forks, every task once",
    "runs",
    full=10,
    planted=1,
    slow=True,
    faults=(unordered,),
    needs=needs(CLANG),
)
def raceless(n):
    return driven(
        n, "team_driver.c", "-fsanitize=thread", finding="ThreadSanitizer", kernels=False,
        TSAN_OPTIONS="die_after_fork=0",
    )  # fmt: skip


@row(
    "M-05",
    "clang's memory sanitizer finds no use of what was not set in the kernels, at every level",
    "families of kernels",
    full=3,
    planted=1,
    slow=True,
    faults=(unset_scalar,),
    needs=needs(CLANG),
)
def initialised(n):
    return driven(n, "bits_driver.c", "-fsanitize=memory", finding="MemorySanitizer")


def guards_off(patch):
    import harness

    patch.setattr(harness.Guarded, "check", lambda self: None)


kept_by(
    "M-06",
    "every test that calls a kernel passes arrays with 4 KiB of guard bytes on either side, which it looks at afterwards; a byte written outside is noticed",
    "tests/core/test_kernels.py::test_guards_catch_a_write_outside",
    "tests/core/test_kernels.py::test_every_test_that_calls_a_kernel_guards_its_arrays",
    "tests/core/test_kernels.py::test_every_block_is_run_once",
    lacks="the kernels' tests themselves, which are N-01's, and pages behind arrays that may not be touched",
    times=10,
    faults=(guards_off,),
)


def locks_off(patch):
    """An optimizer that two threads may be in at once, reading state that the other writes."""
    import time

    import fastreg

    for name in ("Adam", "SGD"):
        kind = getattr(fastreg, name)
        plain = kind.update

        def update(self, params, grads, plain=plain):
            copies = {key: value.copy() for key, value in params.items()}
            time.sleep(1e-4)
            plain(self, copies, grads)
            for key, value in copies.items():
                params[key][...] = value

        patch.setattr(kind, "update", update)


kept_by(
    "M-09",
    "threads that share one optimizer leave the state of some serial order, bit for bit",
    "tests/optim/test_rules.py::test_threads_sharing_one_optimizer_take_turns",
    lacks="eight threads with 10,000 calls each: there are four with 25, of every rule, a hundred times; and an interpreter without its lock",
    times=100,
    slow=True,
    faults=(locks_off,),
)
