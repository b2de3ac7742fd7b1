"""Steps of one training with and without shards, and what their ranks' exchange takes.

    python benches/ranks.py [--rows 128 1024] [--steps 64]
    mpiexec -n 2 python benches/ranks.py

One process: a training without shards, one with four, and one rank of MPI take turns by epochs.

Several ranks, of one thread each: the steps of one training take turns: as they are; without
sending parameters; and without sending anything, all else being computed, with gradients of an
earlier step in the place of those that do not come. After the last kind its messages are sent by
themselves. A time is that of the slowest rank from a barrier on. What is hidden is how much less a
step gets longer by the gradients' messages, turn by turn, than they take: that goes on during the
backward pass.

All are medians of milliseconds.
"""

import argparse
import os
import time

import numpy as np
from mpi4py import MPI

import fastreg
from fastreg.callbacks import Callback
from fastreg.nn import mlp, softmax_cross_entropy
from fastreg.train import Trainer

SIZES = [784, 1024, 1024, 10]
EPOCH = 8  # steps of each kind; the last one of an epoch does more
WAYS = {  # which messages are sent
    "step": {"gradients", "parameters"},
    "step without parameters": {"gradients"},
    "step without messages": set(),
}


class Clock(Callback):
    """Seconds of each step."""

    def __init__(self):
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self.began)


class Turns(Callback):
    """Lets every step send what its turn says, and measures it."""

    def __init__(self, comm):
        self.comm = comm
        self.seconds = {name: [] for name in (*WAYS, "gradients", "parameters")}
        self.kind = "gradients"  # of the messages that are being sent

    def on_train_begin(self, logs=None):
        exchange = self.exchange = self.trainer._team.exchange
        spread = exchange.spread

        def parameters(params):
            self.kind = "parameters"
            spread(params)
            self.kind = "gradients"

        exchange.spread = parameters
        exchange._send, exchange._receive = map(self.chosen, (exchange._send, exchange._receive))

    def chosen(self, move):
        def work(row, rank):
            self.messages[self.kind].append((move, row, rank))
            if self.kind in WAYS[self.way]:
                move(row, rank)

        return work

    def on_train_batch_begin(self, batch, logs=None):
        self.way = list(WAYS)[self.trainer.step % len(WAYS)]
        self.messages = {"gradients": [], "parameters": []}
        self.begin()

    def on_train_batch_end(self, batch, logs=None):
        self.take(self.way)
        if not WAYS[self.way]:
            for kind, messages in self.messages.items():
                self.begin()
                for move, row, rank in messages:
                    move(row, rank)
                self.exchange._wait()
                self.take(kind)

    def begin(self):
        self.comm.Barrier()
        self.began = time.perf_counter()

    def take(self, what):
        spent = time.perf_counter() - self.began
        self.seconds[what].append(self.comm.allreduce(spent, MPI.MAX))


def data(steps, rows):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((steps * rows, SIZES[0]), np.float32)
    return X, rng.integers(0, 10, len(X))


def trainer(callback, **options):
    return Trainer(mlp(SIZES, rng=0), softmax_cross_entropy, fastreg.Adam(1e-6), rng=0,
                   progress=False, callbacks=[callback], **options)  # fmt: skip


def of_one_process(comm, rows, steps):
    """Seconds of each contender's steps."""
    X, y = data(EPOCH, rows)
    ways, runs = {"without shards": {}, "shards=4": {"shards": 4}, "1 rank": {"comm": comm}}, {}
    for name, options in ways.items():
        for threads in (1,) if "comm" in options else (1, os.cpu_count()):
            clock = Clock()
            runs[f"{name}, threads: {threads}"] = threads, clock, trainer(clock, **options)
    for _ in range(0, steps, EPOCH):
        for threads, _, run in runs.values():
            fastreg.set_num_threads(threads)
            run.fit(X, y, epochs=1, batch_size=rows)
    return {name: clock.seconds[EPOCH:] for name, (_, clock, _) in runs.items()}


def of_ranks(comm, rows, steps):
    """Seconds of each kind of step and of the messages."""
    fastreg.set_num_threads(1)
    X, y = data(EPOCH * len(WAYS), rows)
    turns = Turns(comm)
    trainer(turns, comm=comm).fit(X, y, epochs=-(-steps // EPOCH), batch_size=rows)
    return {name: seconds[EPOCH:] for name, seconds in turns.seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 1024], help="of a batch")
    parser.add_argument("--steps", type=int, default=64, help="of each kind, 16 at least")
    asked, comm = parser.parse_args(), MPI.COMM_WORLD
    measure = of_one_process if comm.size == 1 else of_ranks
    for rows in asked.rows:
        found = measure(comm, rows, asked.steps)
        if comm.rank == 0:
            print(f"{comm.size} ranks, {rows} rows, ms")
            for name, seconds in found.items():
                print(f"  {name:28} {1e3 * np.median(seconds):8.2f}")
            if comm.size > 1:
                more, less = found["step without parameters"], found["step without messages"]
                turns = np.subtract(more, less)
                hidden = np.median(found["gradients"]) - np.median(turns)
                print(f"  {'hidden of the gradients':28} {1e3 * hidden:8.2f}")


if __name__ == "__main__":
    main()
