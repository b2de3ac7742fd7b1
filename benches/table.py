"""The results of a run on one screen."""

COLUMNS = {
    "fastreg": lambda r: duration(r.fastreg),
    "ns/element": lambda r: number(r.ns_per_element),
    "GB/s": lambda r: number(r.gb_per_s),
    "of floor": lambda r: number(scaled(100, r.speedup("floor")), " %"),
    "1 thread": lambda r: times(r, "1 thread"),
    "reference": lambda r: times(r, "reference"),
    "torch eager": lambda r: times(r, "torch eager"),
    "torch fused/out/kept": lambda r: times(r, "torch fused", "torch out", "torch kept"),
}

LEGEND = """\
Medians. N× : another backend takes N times as long as fastreg, timed in the same rounds; 1 thread
is fastreg itself; kept: torch reuses memory, as fastreg always does. GB/s counts the bytes that
must move, each once. Floor: the time in which all threads move as many bytes and do nothing else
(in-place sweep for updates, copy for layers)."""


def render(results):
    """Yield lines: a head, a row for each result with its targets, a legend."""
    head = ["", *COLUMNS]
    rows = [[f"  {r.work}", *(cell(r) for cell in COLUMNS.values())] for r in results]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    yield aligned(head, widths) + "  target"
    family = None
    for row, result in zip(rows, results, strict=True):
        if result.family != family:
            family = result.family
            yield family
        judged = "  ".join(judge(target, result) for target in result.targets)
        yield f"{aligned(row, widths)}  {judged}".rstrip()
    met = [target.met(result) for result in results for target in result.targets]
    yield ""
    yield f"{met.count(True)} of {len(met)} targets met, {met.count(None)} without the backend."
    yield from LEGEND.splitlines()


def aligned(cells, widths):
    """Set the first cell to the left, numbers to the right."""
    first, *numbers = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *numbers])


def judge(target, result):
    """Give a tick or a cross, the number, the bound."""
    met = target.met(result)
    if met is None:
        return f"– {target.text}"
    return f"{'✓' if met else '✗'} {number(target.value(result))} {target.text}"


def times(result, *backends):
    """Say how many times as long the first of these backends that took part takes."""
    found = [s for s in map(result.speedup, backends) if s is not None]
    return number(found[0], "×") if found else "–"


def scaled(factor, value):
    """Multiply, but leave None alone."""
    return None if value is None else factor * value


def number(value, unit=""):
    """Print three digits, more where the number is larger."""
    if value is None:
        return "–"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{unit}"


def duration(seconds):
    """Print three digits and a unit."""
    if seconds < 1e-3:
        return number(1e6 * seconds, " µs")
    return number(1e3 * seconds, " ms") if seconds < 1.0 else number(seconds, " s")
