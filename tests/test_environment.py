"""environment.yml, pyproject.toml and requirements.lock say the same, and so do the files of ready environments."""

import json
import os
import re
import subprocess
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


def test_ready_environments_have_a_python_that_the_project_takes_and_no_cuda():
    """The Dockerfile, the development container and Binder: the same lock, without CUDA."""
    docker, binder = (ROOT / "Dockerfile").read_text(), (ROOT / ".binder/runtime.txt").read_text()
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    pythons = [
        re.search(r"^FROM python:(3[.]\d+)", docker, re.MULTILINE)[1],
        re.search(r"python:(3[.]\d+)", container["image"])[1],
        re.fullmatch(r"python-(3[.]\d+)\n", binder)[1],
    ]
    assert all(Version(version) >= Version("3.11") for version in pythons)
    assert "make env CPU=1" in docker and container["postCreateCommand"] == "make env CPU=1"
    script = ROOT / ".binder/postBuild"
    assert os.access(script, os.X_OK) and "-r build/cpu.lock" in script.read_text()
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_the_lock_without_cuda_has_everything_else(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["make", "--silent", "build/cpu.lock"], cwd=tmp_path, check=True)
    names = {Requirement(line).name for line in (tmp_path / "build/cpu.lock").read_text().splitlines()}
    every = {Requirement(line).name for line in (tmp_path / "requirements.lock").read_text().splitlines()}
    assert {name for name in every - names} == {n for n in every if n.startswith(("nvidia-", "cuda-")) or n == "triton"}
    for setting, lock, other in (
        ("CPU=1", "-r build/cpu.lock", "-r requirements.lock"),
        ("CPU=", "-r requirements.lock", "whl/cpu"),
    ):
        said = subprocess.run(["make", "-n", "env", setting], cwd=tmp_path, capture_output=True, text=True).stdout
        assert lock in said and other not in said
