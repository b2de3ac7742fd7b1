"""What a release says of itself, in every place where it says it."""

import re
import tomllib
from pathlib import Path

import pytest

import fastreg

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "name, pattern",
    [
        ("pyproject.toml", r'^version = "(.+)"'),
        ("CITATION.cff", r"^version: (.+)"),
        ("packaging/conda-forge/recipe.yaml", r'^  version: "(.+)"'),
        ("CHANGELOG.md", r"^## (\d\S*) - \d{4}-\d\d-\d\d$"),
    ],
)
def test_the_version_is_the_same_everywhere(name, pattern):
    if not (ROOT / name).exists():
        pytest.skip("needs the sources")
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.search(pattern, text, re.MULTILINE)[1] == fastreg.__version__


def test_the_recipe_asks_for_what_the_project_asks_for():
    recipe = ROOT / "packaging/conda-forge/recipe.yaml"
    if not recipe.exists():
        pytest.skip("needs the sources")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = recipe.read_text(encoding="utf-8")
    host = text.split("  host:\n")[1].split("  run:\n")
    for asked in project["build-system"]["requires"]:
        assert f"    - {asked}\n" in host[0]
    for asked in project["project"]["dependencies"]:
        assert f"    - {asked}\n" in host[1]


def test_the_recipe_installs_and_tests_what_there_is():
    recipe = ROOT / "packaging/conda-forge/recipe.yaml"
    if not recipe.exists():
        pytest.skip("needs the sources")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = recipe.read_text(encoding="utf-8")
    for command, function in project["scripts"].items():
        assert f"      - {command} = {function}\n" in text
    assert f'match(python, "<{project["requires-python"].removeprefix(">=")}")' in text
    folders = re.findall(r"\btests/\w+", text)
    assert len(folders) >= 6 and all((ROOT / folder).is_dir() for folder in folders)


def test_the_licence_is_the_same_everywhere():
    if not (ROOT / "CITATION.cff").exists():
        pytest.skip("needs the sources")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("CITATION.cff", "packaging/conda-forge/recipe.yaml"):
        said = re.search(r"^ *license: (.+)", (ROOT / name).read_text(encoding="utf-8"), re.M)
        assert said[1] == project["license"], name
