"""C-06b: headers of checkpoints that are wrong, while their checksum is right."""

import random

import numpy as np
from charter import Broken, row

from fastreg import checkpoint

STATE = {
    "a": np.arange(7.0),
    "b": {
        "c": [1, 2.5, "x", None, True, {"d": np.ones((2, 3), np.float32)}],
        "e": np.zeros((0, 4), np.int8),
    },
    "n": -3,
    "s": "é\n",
    "f": 1e-30,
    "big": 2**70,
    "m": np.array(True),
}
#: What JSON, numbers and the format itself are made of.
MARKS = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"-1", b"1e400", b"NaN", b"null", b"F32"]
MARKS += [b"I8", b"\\u0000", b"\\ud800", b"18446744073709551616", b'"shape"', b'"$array"']
START = 8  # of the header, behind its length


def edited(head, pick):
    """A header in which something is missing, doubled, exchanged or put in, up to three times."""
    for _ in range(pick.choice((1, 1, 1, 2, 3))):
        at, other = sorted(pick.choices(range(len(head)), k=2))
        length, mark = pick.randrange(1, 12), pick.choice(MARKS)
        digits = [k for k, byte in enumerate(head) if 48 <= byte <= 57]
        kind = pick.randrange(5)
        if kind == 0:
            del head[at : at + length]
        elif kind == 1:
            head[at:at] = head[other : other + length]
        elif kind == 2:
            head[at : at + 1] = mark
        elif kind == 3:
            head[at:at] = mark
        elif digits:
            head[pick.choice(digits)] = pick.choice(b"0123456789-e.")
    return head


def summed(head, arrays, found):
    """A file of a header and arrays, with the length and the checksum that they have now."""
    head = len(head).to_bytes(START, "little") + bytes(head)
    blank = head.replace(found, checkpoint.BLANK.encode())
    return head.replace(found, checkpoint.sha256(blank, arrays).encode()) + arrays


def unforeseen(patch):
    """A reader that does not expect a name without an array."""
    plain = checkpoint._with_arrays

    def read(tree, arrays):
        try:
            return plain(tree, arrays)
        except KeyError as error:
            raise AttributeError(error) from None

    patch.setattr(checkpoint, "_with_arrays", read)


@row(
    "C-06b",
    "headers that are wrong and have a right checksum are refused as a CheckpointError, or are those of another state, which can be saved",
    "mutants",
    full=10_000_000,
    short=5_000,
    faults=(unforeseen,),
)
def mutants(n):
    pick, data = random.Random(), bytes(checkpoint.encode(STATE))
    start = START + int.from_bytes(data[:START], "little")
    found = checkpoint.unpack(data)[1]["sha256"].encode()
    for _ in range(n):
        mutant = summed(edited(bytearray(data[START:start]), pick), data[start:], found)
        try:
            checkpoint.encode(checkpoint.decode(mutant))
        except checkpoint.CheckpointError:
            continue
        except Exception as error:
            raise Broken(f"{error!r} of {mutant[START:]!r}") from error
    return n
