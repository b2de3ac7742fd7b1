"""One piece of work, done by several backends in turn.

Only ratios of times taken side by side mean anything on a shared machine. So a benchmark here is
a *comparison*: after each round that pytest-benchmark times of fastreg, every other backend is
timed once too, and medians are compared. What pytest-benchmark records, saves and compares
between runs is the fastreg side; the medians of all backends go with it as ``extra_info``.
"""

import math
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import fastreg

SIZES = {"1K": 1_000, "100K": 100_000, "1M": 1_000_000, "25M": 25_000_000}
LARGE = 150_000_000  # bytes from which on memory sets the time: compared with bandwidth as well
SETTLE = 0.02  # seconds in which the threads of the backend timed before stop spinning


class Effort(NamedTuple):
    """How long to measure."""

    rounds: int  # samples of fastreg, and at most of each other backend
    sample: float  # seconds that a sample lasts at least, by repeating short calls
    budget: float  # seconds after which a slow backend sits the remaining rounds out


THOROUGH = Effort(rounds=11, sample=5e-3, budget=3.0)
QUICK = Effort(rounds=3, sample=1e-3, budget=0.5)


@dataclass(frozen=True)
class Result:
    """Median seconds of each backend, "fastreg" first, and what they were spent on."""

    family: str
    work: str
    seconds: dict[str, float]
    elements: int
    nbytes: int
    targets: tuple

    @property
    def fastreg(self):
        """Seconds of one fastreg call."""
        return self.seconds["fastreg"]

    @property
    def ns_per_element(self):
        """Nanoseconds per element, None for work that has none."""
        return 1e9 * self.fastreg / self.elements if self.elements else None

    @property
    def gb_per_s(self):
        """10**9 bytes per second, counting each byte that must move once."""
        return 1e-9 * self.nbytes / self.fastreg if self.nbytes else None

    def speedup(self, backend):
        """Divide a backend's time by that of fastreg; None if it did not take part.

        "torch" is the best of torch's forms.
        """
        forms = [s for name, s in self.seconds.items() if name.split()[0] == backend]
        seconds = self.seconds.get(backend, min(forms, default=None))
        return None if seconds is None else seconds / self.fastreg

    def extra_info(self):
        """Collect what pytest-benchmark saves with the fastreg times."""
        return {
            "backend": "fastreg",
            "size": self.elements,
            "threads": fastreg.get_num_threads(),
            "level": fastreg._core._kernels.level(),
            "ns_per_element": self.ns_per_element,
            "gb_per_s": self.gb_per_s,
            "seconds": self.seconds,
            "speedups": {backend: self.speedup(backend) for backend in self.seconds},
        }


@dataclass
class Comparison:
    """Calls without arguments that do the same work; ``call`` is fastreg's, which was verified."""

    family: str
    work: str
    call: Callable
    peers: dict[str, Callable]
    elements: int = 0
    nbytes: int = 0  # the fewest bytes that the formula lets move
    floor: Callable | None = None  # from a number of bytes to a call that only moves them
    targets: tuple = ()

    def __post_init__(self):
        """Compare large work with bandwidth and with one thread, too."""
        if self.nbytes >= LARGE:
            self.peers = {
                **self.peers,
                "1 thread": self.on_one_thread,
                "floor": self.floor(self.nbytes),
            }

    def on_one_thread(self):
        """Do the fastreg call without its team."""
        with fastreg.num_threads(1):
            self.call()

    def run(self, benchmark, effort):
        """Time all backends round by round; None if pytest-benchmark is told not to time."""
        if benchmark.disabled:
            benchmark(self.call)
            return None
        loops = {name: self.loops(call, effort) for name, call in self.peers.items()}
        own_loops = self.loops(self.call, effort)
        samples = {name: [] for name in self.peers}

        def time_peers():
            for name, call in self.peers.items():
                taken = samples[name]
                if len(taken) < effort.rounds and sum(taken) * loops[name] < effort.budget:
                    settle(call, loops[name])
                    taken.append(timeit.timeit(call, number=loops[name]) / loops[name])
            settle(self.call, own_loops)

        settle(self.call, own_loops)
        benchmark.group = self.family
        benchmark.pedantic(
            self.call, rounds=effort.rounds, iterations=own_loops, teardown=time_peers
        )
        seconds = {"fastreg": benchmark.stats["median"]}
        seconds |= {name: statistics.median(taken) for name, taken in samples.items()}
        result = Result(self.family, self.work, seconds, self.elements, self.nbytes, self.targets)
        benchmark.extra_info |= result.extra_info()
        return result

    def loops(self, call, effort):
        """Count the calls that make up one sample: large work is long enough by itself."""
        return 1 if self.nbytes >= LARGE else calibrate(call, effort.sample)


def calibrate(call, sample):
    """Count the calls that last as long as one sample, after one call that warms up."""
    call()
    loops, seconds = 1, timeit.timeit(call, number=1)
    while seconds < sample / 10:
        loops *= 10
        seconds = timeit.timeit(call, number=loops)
    return max(1, math.ceil(loops * sample / seconds))


def settle(call, loops):
    """Let other backends' threads fall asleep; where calls are short, wake this one's own."""
    time.sleep(SETTLE)
    if loops > 1:
        call()
