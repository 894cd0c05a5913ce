"""Who may know whom, and that the wheel holds what the tree holds."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"drivetrain": "core"} | {f"drivetrain.{name}": name for name in ("plugins", "datasets", "recipes")}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path, package: str) -> list[str]:
    """Absolute names of the modules that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            names.append(".".join([*parts, *([node.module] if node.module else [])]))
    return names


def package_of(path: Path, folder: str, name: str) -> str:
    return ".".join([name, *path.parent.relative_to(ROOT / folder).parts])


@pytest.mark.parametrize("path", sources("core"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_knows_no_plugin_and_no_dataset(path):
    names = imported(path, package_of(path, "core", "drivetrain"))
    assert not [n for n in names if n.startswith(("drivetrain.plugins", "drivetrain.datasets"))]


@pytest.mark.parametrize("path", [*sources("plugins"), *sources("datasets")], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_plugin_knows_the_public_face_and_its_own_folder(path):
    folder = path.relative_to(ROOT).parts[0]
    package = package_of(path, folder, f"drivetrain.{folder}")
    for name in imported(path, package):
        if name.split(".")[0] == "drivetrain":
            own = ".".join(package.split(".")[: 4 if folder == "plugins" else 3])
            assert name == "drivetrain" or name.startswith(own), f"{path.relative_to(ROOT)} imports {name}"


def test_the_wheel_holds_what_the_tree_holds(tmp_path):
    clean = tmp_path / "source"  # a build folder in the tree would lend the wheel its stale files
    for name in ROOMS.values():
        shutil.copytree(ROOT / name, clean / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clean / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), str(clean)]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    there = set()
    for name, folder in ROOMS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".typed"):
                there.add("/".join([*name.split("."), *path.relative_to(ROOT / folder).parts]))
    assert held == there

    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import drivetrain; from drivetrain.manager import PluginManager; print(drivetrain.__file__);"
        "bad = [e for e in PluginManager().entries if e.status != 'loaded']; assert not bad, bad"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(str(tmp_path / "site")), done.stderr


def test_the_source_root_does_not_shadow_other_packages(tmp_path):
    other = tmp_path / "datasets"
    other.mkdir()
    (other / "__init__.py").write_text("WHOSE = 'theirs'")
    code = "import sys; sys.argv = ['x', '--version']; import runpy, contextlib\n"
    code += "with contextlib.suppress(SystemExit): runpy.run_module('drivetrain', run_name='__main__')\n"
    code += f"sys.path.append({str(tmp_path)!r}); import datasets; assert datasets.WHOSE == 'theirs'"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr


def test_no_file_names_a_machine_or_a_host():
    for folder in ("core", "plugins", "datasets", "recipes", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".yaml"):
                assert "/work/" not in path.read_text() and "/tmp/w" not in path.read_text(), path
