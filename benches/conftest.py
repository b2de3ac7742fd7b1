"""Options, the ``compare`` fixture, and the table at the end of a run."""

import json
from pathlib import Path

import numpy as np
import peers
import pytest
import table
from comparison import QUICK, THOROUGH

import fastreg

RESULTS = pytest.StashKey[list]()


def pytest_addoption(parser):
    """Add what the command line of a benchmark run takes."""
    group = parser.getgroup("fastreg")
    group.addoption("--quick", action="store_true", help="fewer rounds: an impression only")
    group.addoption(
        "--ratios-json", type=Path, metavar="PATH", help="write the table's numbers to PATH"
    )


def pytest_configure(config):
    """Start with no results."""
    config.stash[RESULTS] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Run last what changes the C library's allocator: its heap keeps holes for ever."""
    items.sort(key=lambda item: item.originalname.endswith("_kept"))


@pytest.fixture
def compare(benchmark, request):
    """Time a comparison, the fastreg side by pytest-benchmark, and keep the result."""
    config = request.config

    def run(comparison):
        result = comparison.run(benchmark, QUICK if config.option.quick else THOROUGH)
        if result is not None:
            config.stash[RESULTS].append(result)

    return run


def build():
    """Say what ran, one short text per part."""
    threads = fastreg.get_num_threads()
    return {
        "level": fastreg._core._kernels.level(),
        "threads": f"{threads} thread{'s' * (threads > 1)}",
        "fastreg": f"fastreg {fastreg.__version__}",
        "numpy": f"NumPy {np.__version__}",
        "torch": peers.version(),
    }


def pytest_benchmark_update_machine_info(config, machine_info):
    """Let saved runs say what ran."""
    machine_info["fastreg"] = build()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """End the run with the table."""
    results = config.stash[RESULTS]
    if not results:
        return
    machine = config.hook.pytest_benchmark_generate_machine_info(config=config)
    about = {"cpu": machine["cpu"].get("brand_raw", machine["machine"]), **build()}
    terminalreporter.section("fastreg, side by side")
    for line in (*table.render(results), " · ".join(about.values())):
        terminalreporter.write_line(line)
    if config.option.ratios_json:
        write_json(config.option.ratios_json, about, results)


def write_json(path, about, results):
    """Write the machine, and each result with its targets."""
    rows = [
        {
            "family": result.family,
            "work": result.work,
            **result.extra_info(),
            "targets": [
                {"text": target.text, "value": target.value(result), "met": target.met(result)}
                for target in result.targets
            ],
        }
        for result in results
    ]
    path.write_text(json.dumps({"machine": about, "results": rows}, indent=1) + "\n", "utf-8")
