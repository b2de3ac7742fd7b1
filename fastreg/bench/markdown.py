"""The results as one Markdown table, and the few rows of it that the README shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastreg.bench.contenders import FORMS
from fastreg.bench.results import Entry, Line, Run
from fastreg.bench.statistics import Median

__all__ = ["COLUMNS", "duration", "readme_rows", "rewrite", "table", "times"]

#: Columns of other libraries: heading, library.
COLUMNS = {
    "textbook": "textbook",
    "NumPy at its best": "inplace",
    "torch": "torch",
    "JAX": "jax",
    "Keras": "keras",
    "scikit-learn": "sklearn",
    "DeepSpeed": "deepspeed",
}
BEGIN, END = "<!-- benchmarks: written by `fastreg bench --readme` -->", "<!-- /benchmarks -->"


def table(run: Run) -> str:
    """Return the whole table, a section per kind of work."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    about = run.about
    yield f"# fastreg {about['version']} on {run.cpu}, {about['date']}"
    yield ""
    yield (
        f"{about['threads']} threads, {about['level']}, {about['mode']} run. Medians with 95 % "
        "intervals. N× is how many times as long others take as fastreg, at the number of threads "
        "that they do best with: the median of the ratios within rounds."
    )
    for kind in dict.fromkeys(line.work.kind for line in run.lines):
        lines = [line for line in run.lines if line.work.kind == kind]
        if kind == "limit":
            yield from _limits(run)
            continue
        forms = {(e.contender["library"], e.contender["form"]) for x in lines
                 for e in x.entries.values()}  # fmt: skip
        shown = {
            f"{head} {form}".rstrip(): (library, form)
            for head, library in COLUMNS.items()
            for _, form in sorted(one for one in forms if one[0] == library)
        }
        levels = {e.contender["level"] for x in lines for e in x.entries.values()} - {""}
        yield from ("", f"## {kind}", "")
        heads = ["work", "fastreg", "GB/s", "GFLOP/s", "of limit", "1 thread", *sorted(levels)]
        yield _row([*heads, *shown, "expected"])
        yield _row(["---", *["--:"] * (len(heads) - 1 + len(shown)), "---"])
        for line in lines:
            own = line.fastreg
            if own is None:
                continue
            share = run.share(line, own)
            cells = [
                line.work.label or line.work.id,
                f"{duration(own.seconds.value)} ({interval(own.seconds)})",
                f"{own.gb_per_s:.1f}" if own.bytes_moved else "",
                f"{own.gflop_per_s:.1f}" if own.operations else "",
                f"{100 * share:.0f} %" if share else "",
                _own(line, threads=1),
                *(_own(line, level=level) for level in sorted(levels)),
                *(_other(line, line.best(*one)) for one in shown.values()),
                "; ".join(
                    f"{'✓' if came >= factor else '✗'} {name} {came:.2f}× (≥ {factor:g}×)"
                    for name, factor, came in line.judged()
                ),
            ]
            yield _row(cells)
    if run.imports:
        yield from ("", "## a new interpreter", "", "| program | time |", "|---|--:|")
        for code, seconds in run.imports.items():
            yield _row([f"`{code}`", f"{duration(seconds.value)} ({interval(seconds)})"])
    yield from ("", "## What each was given", "")
    for name, words in run.given.items():
        yield f"- **{name}**: {words}"


def _limits(run: Run) -> Iterator[str]:
    yield from ("", "## limits of the machine", "", "| | threads | |", "|---|--:|--:|")
    for (name, dtype, threads), value in run.limits.items():
        unit = "GFLOP/s" if name == "product" else "GB/s"
        yield _row([f"{name}, {dtype}", str(threads), f"{value:.1f} {unit}"])


def _own(line: Line, *, threads: int | None = None, level: str = "") -> str:
    for entry in line.entries.values():
        c = entry.contender
        same = c["library"] == "fast" and not c["form"] and c["level"] == level
        if same and entry is not line.fastreg and threads in (None, c["threads"]):
            return times(line.speedup(entry))
    return ""


def _other(line: Line, entry: Entry | None) -> str:
    if entry is None:
        return "–"
    threads = entry.contender["threads"]
    return f"{times(line.speedup(entry))}, {threads} thread{'s' * (threads > 1)}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def times(ratio: Median, *, bare: bool = False) -> str:
    """Say how many times as long, with the interval."""
    text = f"{number(ratio.value)}×"
    return text if bare else f"{text} ({number(ratio.low)}–{number(ratio.high)})"


def number(value: float) -> str:
    """Write two or three digits."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}" if value >= 4 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Write three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if seconds >= size or unit == "ns":
            value = seconds / size
            digits = 0 if value >= 100 else 1 if value >= 10 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def interval(seconds: Median) -> str:
    """Write the bounds in per cent of the median."""
    low, high = (100 * (bound / seconds.value - 1) for bound in (seconds.low, seconds.high))
    return f"{low:+.0f} … {high:+.0f} %".replace("-", "−")


def readme_rows(run: Run) -> str:
    """Return the rows for the README: what has a label, against other libraries at their best."""
    lines = [x for x in run.lines if x.work.quick and x.work.label and x.fastreg]
    lines.sort(key=lambda line: list(FORMS).index(line.work.kind))
    heads = ["torch", "DeepSpeed", "JAX", "Keras", "scikit-learn", "NumPy at its best", "textbook"]
    heads = [head for head in heads if any(x.best(COLUMNS[head]) for x in lines)]
    shown = {"NumPy at its best": "NumPy in place", "textbook": "formulas in NumPy"}
    about = run.about
    rows = [
        f"| float32, {about['threads']} cores, {about['level']} | fastreg | "
        + " | ".join(shown.get(head, head) for head in heads) + " |",
        f"|---|--:|{'--:|' * len(heads)}",
    ]  # fmt: skip
    for line in lines:
        own = line.fastreg
        assert own is not None
        others = (line.best(COLUMNS[head]) for head in heads)
        cells = [times(line.speedup(e), bare=True) if e else "–" for e in others]
        rows.append(_row([line.work.label, duration(own.seconds.value), *cells]))
    libraries = dict.fromkeys(
        part for line in lines for e in line.entries.values()
        for part in str(e.given["library"]).split(", ") if not part.startswith("fastreg")
    )  # fmt: skip
    rows.append("")
    if run.imports:
        rows.append("A new interpreter: " + ", ".join(
            f"`{code}` {duration(seconds.value)}" for code, seconds in run.imports.items()) + ".  "
        )  # fmt: skip
    rows.append(
        f"{run.cpu}, {about['date']}, fastreg {about['version']}; {', '.join(sorted(libraries))}."
    )
    return "\n".join(rows)


def rewrite(path: Path | str, rows: str) -> None:
    """Put the rows between the markers of a README.

    Raises
    ------
    ValueError
        The file has no such markers, once and in this order. It is left as it was.
    """
    path = Path(path)
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest:
        raise ValueError(f"{path} must have the lines {BEGIN!r} and {END!r} once, in this order")
    path.write_text(f"{before}{BEGIN}\n{rows}\n{END}{after}", "utf-8")
