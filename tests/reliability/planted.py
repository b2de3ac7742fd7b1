"""A plugin of pytest: plants the fault that the environment names, and asks for more examples."""

import importlib
import os

import charter
import pytest


def pytest_configure():
    name = os.environ.get(charter.FAULT)
    if name:
        module, function = name.split(":")
        getattr(importlib.import_module(module), function)(pytest.MonkeyPatch())


def pytest_collection_modifyitems(items):
    """FASTREG_TEST_EXAMPLES: random examples per property, other ones in every run."""
    examples = os.environ.get("FASTREG_TEST_EXAMPLES")
    if examples:
        from hypothesis import HealthCheck, settings

        for item in items:
            if hasattr(item.obj, "hypothesis"):
                function = getattr(item.obj, "__func__", item.obj)
                function._hypothesis_internal_use_settings = settings(
                    function._hypothesis_internal_use_settings, max_examples=int(examples),
                    derandomize=False, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
