"""environment.yml, pyproject.toml and requirements.lock say the same."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from replication.files import ROOT

FIXED = {"jupyterlab", "torch", "torchvision", "matplotlib", "seaborn", "papermill", "lpips", "scikit-image"}


def project() -> dict[str, Requirement]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *table["dependencies"],
        *table["optional-dependencies"]["test"],
    ]  # `diffusion` is for people with Stable Diffusion's weights
    return {Requirement(line).name: Requirement(line) for line in lines}


def runtime() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def locked() -> dict[str, Version]:
    versions = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        versions[requirement.name.lower().replace("_", "-")] = Version(pin.version)
    return versions


def conda() -> set[str]:
    text = (ROOT / "environment.yml").read_text()
    return set(re.findall(r"^      - ([a-z].*)$", text, re.MULTILINE))


def test_the_fixed_packages_are_there():
    assert project().keys() >= FIXED


@pytest.mark.parametrize("name", sorted(project()))
def test_the_lock_satisfies_the_project(name):
    assert locked()[name] in project()[name].specifier


def test_environment_yml_lists_the_project_dependencies():
    assert conda() == runtime()
    assert "python>=3.11" in (ROOT / "environment.yml").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"


def test_the_lock_names_no_local_build_and_no_place():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"[+@]|://|file:", text)


def test_no_lock_on_the_build_without_torchvision():
    assert locked()["torch"] != Version("2.13.0")
