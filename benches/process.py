"""A contender in a process of its own, which is told what to do line by line."""

import json
import os
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Process:
    """A script's worker at the other end of two pipes; each line is JSON."""

    def __init__(self, script, *arguments, tree=TREE, **environment):
        """Start it, with the fastreg of a tree."""
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", *arguments], text=True,
            env=os.environ | {"PYTHONPATH": tree} | environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def tell(self, what):
        """Send a line."""
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def ask(self, what):
        """Send a line and wait for the answer."""
        self.tell(what)
        return json.loads(self.process.stdout.readline())

    def close(self):
        """Let it end."""
        self.process.stdin.close()
        self.process.wait()
