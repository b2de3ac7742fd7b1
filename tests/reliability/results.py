"""What runs have shown: results.json, which runs write, and docs/reliability.md, made from it."""

import datetime
import json
import os
import platform
import re
import subprocess
from pathlib import Path

from charter import HERE, TREE

FILE = HERE / "results.json"
PAGE = TREE / "docs" / "reliability.md"
HEAD = """\
# The reliability charter

What the library promises, and how much of it has been tried. `make reliability` runs every row in
full, which takes hours; `make reliability ARGS="N-07 M-03"` runs rows by name, and
with `ARGS="--share 0.01"` that share of each. The test suite runs a short form of most rows, and
plants faults in what a row looks at, to see that it notices them. What takes minutes even in its
shortest form, a row or the faults of one, is left to `make reliability`.

This page is made from what the runs wrote down (`tests/reliability/results.json`), not typed.
*Done* is what was counted on the day of the run, and behind it how much of the full form that was.
*Planted faults* says how many a row has, and who plants them: the suite every time, or
`make reliability`, and then on which day the row was last seen to notice all of them.
"""


def load():
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def machine():
    """The processor, its cores, and the system, as far as they are known."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*: (.*)", info.read_text())
        name = found[1].replace("(R)", "") if found else name
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def commit():
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=TREE, capture_output=True, text=True
    )
    return done.stdout.strip()


def record(row, asked, count, seconds, result):
    """Write down a run. One that was asked for less only replaces one that held, by BROKEN."""
    known = load()
    before = known.get(row.id, {})
    shorter = asked < min(before.get("asked", 0), row.full)
    if shorter and (result == "held" or before["result"] == "BROKEN"):
        return
    known[row.id] = {
        **({"noticed": before["noticed"]} if "noticed" in before else {}),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "asked": asked,
        "count": count,
        "seconds": round(seconds, 1),
        "result": result,
    }
    write(known)


def write(known):
    text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", "utf-8")


def record_fault(row, fault, noticed):
    """Write down the day on which a planted fault was noticed; one that was not has none."""
    known = load()
    seen = known.setdefault(row.id, {}).setdefault("noticed", {})
    seen.pop(fault.__name__, None)
    if noticed:
        seen[fault.__name__] = datetime.datetime.now(datetime.UTC).date().isoformat()
    write(known)


FAMILIES = {
    "N": "Numbers",
    "D": "Dropout's random numbers",
    "M": "Memory and threads",
    "F": "Processes",
    "C": "Checkpoints and the trainer",
    "S": "What is shipped",
    "X": "Bad input, mutants, load",
}


def page(rows):
    """The page's text."""
    known, parts = load(), [HEAD]
    machines = sorted({one["machine"] for one in known.values() if "machine" in one})
    for k, name in enumerate(machines, 1):
        parts.append(f"Machine {k}: {name}.\n")
    for letter, title in FAMILIES.items():
        lines = [
            f"\n## {title}\n",
            "| row | promise | planted faults | command | done | result | when |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in sorted(rows.values(), key=lambda row: row.id):
            if row.id[0] == letter:
                lines.append(line(row, known.get(row.id, {}), machines))
        parts.append("\n".join(lines) + "\n")
    parts += [lacking(rows), mutants()]
    return "\n".join(parts)


def lacking(rows):
    """What nothing looks at, by row."""
    said = ["\n## What is not looked at\n"]
    said += [f"- {row.id}: {row.lacks}." for _, row in sorted(rows.items()) if row.lacks]
    return "\n".join(said) + "\n"


def mutants():
    """What has been planted so far (mutants.json), and what lives."""
    known = json.loads((HERE / "mutants.json").read_text("utf-8")).values()
    lines = [
        "\n### Mutants so far\n",
        "A killed one made a test red, a hung one ran into the limit of time of a test. One that "
        "no test can see, or none should, is explained below; the first share leaves it out, the "
        "second does not. An open one is not noticed by the narrow tests of its source; wide ones "
        "have not run, and unless it is explained it counts as alive.\n",
        "| language | planted | killed | hung | explained | open | live | noticed | of all |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, ends in (
        ("Python", (".py",)),
        ("Cython", (".pyx", ".pxi", ".pxd")),
        ("C", (".c", ".h")),
        ("all", ("",)),
    ):
        of = [fate(one) for one in known if one["file"].endswith(ends)]
        counts = [of.count(one) for one in ("killed", "hung", "explained", "open", "lived")]
        killed, hung, explained, *_ = counts
        shares = [f"{(killed + hung) / max(1, n):.1%}" for n in (len(of) - explained, len(of))]
        lines.append(f"| {name} | {len(of)} | " + " | ".join([*map(str, counts), *shares]) + " |")
    lines += ["\n| not killed | line | instead | what of it |", "|---|---|---|---|"]
    for one in sorted(known, key=lambda one: (one["file"], one["line"])):
        if one["result"] != "killed":
            text, old, new = (
                " ".join(one[key].replace("|", "¦").replace("`", "'").split())
                for key in ("text", "old", "new")
            )
            owed = {"hung": "hung", "open": "wide tests are owed"}
            why = one.get("why") or owed.get(one["result"], "a test is owed")
            lines.append(f"| {one['file']} | `{text}` | `{old}` → `{new or '(nothing)'}` | {why} |")
    return "\n".join(lines) + "\n"


def fate(one):
    explained = one["result"] in ("lived", "open") and one.get("why")
    return "explained" if explained else one["result"]


def line(row, result, machines):
    command = f'`make reliability ARGS="{row.id}"`'
    if row.why_not:
        return f"| {row.id} | {row.promise} | – | – | – | {row.why_not} | – |"
    if "result" not in result:
        done, said, when = "–", "not run yet", "–"
    else:
        done = f"{result['count']:,} {row.unit} ({share(result['asked'], row.full)})"
        said = f"{result['result']}, {result['seconds']:,} s"
        when = (
            f"{result['date']}, {result['commit']}, machine {machines.index(result['machine']) + 1}"
        )
    return (
        f"| {row.id} | {row.promise} | {faults(row, result)} | {command} | {done} "
        f"| {said} | {when} |"
    )


def share(asked, full):
    return "in full" if asked >= full else f"{asked:,} of {full:,}"


def faults(row, result):
    if not row.slow:
        return f"{len(row.faults)}, by the suite"
    seen = result.get("noticed", {})
    days = [seen.get(fault.__name__) for fault in row.faults]
    return f"{len(days)}, {'not seen yet' if None in days else min(days)}"
