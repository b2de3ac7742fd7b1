"""Contenders take turns: a sample of each per round, in processes of their own.

Threads of torch, JAX or a BLAS spin for a while after a call. In one process they would spin on the
cores of whoever is timed next. So each contender has a process of its own, with the number of
threads it was given from its start on, and answers only when all its threads are asleep.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fastreg.bench.contenders import Contender
from fastreg.bench.work import Work

PATIENCE = 300.0  # seconds in which a contender must be ready; compilers take their time

__all__ = ["Effort", "Taken", "Turns", "WrongError", "interleave"]


class Effort(NamedTuple):
    """How long to measure."""

    rounds: int  # samples of each contender
    sample: float  # seconds that a sample lasts at least, by repeating short calls
    budget: float  # seconds after which a slow contender sits the remaining rounds out
    least: int = 3  # samples that a slow contender takes nevertheless


class Taken(NamedTuple):
    """What came of one contender: seconds per call by round, or the reason for none."""

    seconds: list[float]
    given: dict[str, Any]
    missing: str = ""
    wrong: str = ""


class WrongError(Exception):
    """A contender's result is not the expected one, so its time is not taken."""


class Process:
    """A contender's process."""

    def __init__(self, contender: Contender, log: Any) -> None:
        package = Path(__file__).parents[2]
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH", ""))))
        self.process: Any = subprocess.Popen(
            [sys.executable, "-m", "fastreg.bench.worker", contender.library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **contender.environment(), "PYTHONPATH": path},
        )

    def tell(self, *what: Any) -> None:
        """Send a line; the answer may be read later."""
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Read the answer to the last line."""
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the process ended with status {self.process.wait()}")
        return json.loads(line)

    def answer_within(self, seconds: float) -> Any:
        """Read the answer; a process that takes longer is ended."""
        watch = threading.Timer(seconds, self.process.kill)
        watch.start()
        try:
            return self.answer()
        finally:
            watch.cancel()

    def end(self) -> None:
        """Let the process end."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Turns:
    """The processes of a run, each started when it is first needed."""

    effort: Effort
    log: Any

    def __init__(self, effort: Effort, log: Any = None) -> None:
        self.effort, self.log = effort, log
        self.processes: dict[Any, Process] = {}

    def measure(self, work: Work, contenders: Iterable[Contender]) -> dict[str, Taken]:
        """Check everyone's result, then time those whose result is right, in turns."""
        contenders = list(contenders)
        answers: dict[str, Any] = {}
        learners = [one for one in contenders if one.library == "fast" or one.form == "compiled"]
        self._prepare(work, [one for one in contenders if one not in learners], answers)
        for one in learners:
            self._prepare(work, [one], answers)
        ready = {
            one.name: self.processes[one.process]
            for one in contenders
            if "given" in answers[one.name] and one.process in self.processes
        }
        samples = interleave(
            {name: self._sampler(process, name) for name, process in ready.items()}, self.effort
        )
        for name, process in ready.items():
            process.tell("drop", name)
            process.answer()
        return {
            name: Taken(samples[name], said["given"])
            if name in ready
            else Taken([], {}, said.get("missing", "its process ended"), said.get("wrong", ""))
            for name, said in answers.items()
        }

    def _prepare(self, work, contenders, answers):
        """Ask all before the first answer is read: they import and compile beside one another.

        Who learns from the first calls how to do the work (fastreg, whether threads are worth it;
        what a compiler tunes) is to be asked alone.
        """
        for contender in contenders:
            key = contender.process
            if key not in self.processes:
                self.processes[key] = Process(contender, self.log)
            case = work.floor() if contender.library == "machine" else None
            with contextlib.suppress(BrokenPipeError):  # which its answer will say
                self.processes[key].tell(
                    "prepare", contender.name, (case or work).to_json(), contender.form
                )
        for contender in contenders:
            process = self.processes.get(contender.process)
            try:
                said = process.answer_within(PATIENCE) if process else {}
            except EOFError as error:
                self.processes.pop(contender.process).end()
                said = {"missing": f"{contender.library}: {error}"}
            answers[contender.name] = said

    @staticmethod
    def _sampler(process, name):
        def sample(number):
            process.tell("time", name, number)
            return process.answer()["seconds"]

        return sample

    def end(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.end()
        self.processes = {}


def interleave(
    samplers: dict[str, Callable[[int], float]], effort: Effort
) -> dict[str, list[float]]:
    """Take a sample of everyone per round.

    Parameters
    ----------
    samplers : dict of functions
        From a number of calls to the seconds that one of them takes.
    effort : Effort
        Rounds and their length.

    Returns
    -------
    samples : dict of list
        Seconds per call, by round.
    """
    numbers = {}
    for name, sample in samplers.items():
        number, seconds = 1, sample(1)  # no sample of its own: some compile in their first call
        while number * seconds < effort.sample / 10:
            number *= 10
            seconds = sample(number)
        numbers[name] = max(1, math.ceil(effort.sample / max(seconds, 1e-9)))
    taken: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(effort.rounds):
        for name, sample in samplers.items():
            spent = sum(taken[name]) * numbers[name]
            if spent < effort.budget or len(taken[name]) < effort.least:
                taken[name].append(sample(numbers[name]))
    return taken
