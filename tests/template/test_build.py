import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam build` makes for AWS."""
    directory = tmp_path_factory.mktemp("build")
    command = [str(Path(sys.executable).with_name("sam")), "build", "--build-dir", str(directory)]
    environment = os.environ | {"SAM_CLI_TELEMETRY": "0", "PYTHON": sys.executable}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return directory


def files_of(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_the_function_is_the_package_and_nothing_else(built: Path) -> None:
    """Its code, its migrations and its certificates, as in the source tree; bytecode at most besides."""
    shipped = {name for name in files_of(built / "EventServiceFunction") if not name.endswith(".pyc")}
    tree = {f"event_service/{name}" for name in files_of(ROOT / "event_service") if not name.endswith(".pyc")}
    assert shipped == tree


def test_the_layer_is_built_for_the_deployed_python_on_the_deployed_processor(built: Path) -> None:
    """Not for the machine that builds: every compiled module is for CPython 3.13 on 64-bit ARM."""
    layer = built / "DependenciesLayer" / "python"
    tags = re.findall(
        r"^Tag: (.*)$", "".join(path.read_text() for path in layer.glob("*.dist-info/WHEEL")), re.MULTILINE
    )
    compiled = {tag for tag in tags if not tag.endswith("-none-any")}
    assert compiled
    assert all(tag.startswith("cp313-cp313-manylinux") and tag.endswith("_aarch64") for tag in compiled)
    modules = [path.name for path in layer.rglob("*.so")]
    assert any("cpython-313-aarch64" in name for name in modules)
    assert not any("x86_64" in name for name in modules)


def test_the_layer_has_exactly_the_locked_packages(built: Path) -> None:
    """Every one of the lock file that is for this platform, at its version."""
    lock = (ROOT / "layers" / "dependencies" / "requirements.txt").read_text()
    locked = {
        f"{name.replace('-', '_')}-{version}".lower()
        for name, version, marker in re.findall(r"^([\w.-]+)==([\w.]+)(.*)\\$", lock, re.MULTILINE)
        if "win32" not in marker
    }
    layer = built / "DependenciesLayer" / "python"
    installed = {
        path.name.removesuffix(".dist-info").replace("-", "_", 0).lower() for path in layer.glob("*.dist-info")
    }
    assert installed == locked


def test_botocore_knows_every_service_the_code_uses(built: Path) -> None:
    """The layer leaves out the others."""
    code = "".join(path.read_text() for path in (ROOT / "event_service").glob("*.py"))
    used = set(re.findall(r'(?:client\(|partial\(client, |make_client\([^"\n]*)"(\w+)"', code))
    data = built / "DependenciesLayer" / "python" / "botocore" / "data"
    assert used == {path.name for path in data.iterdir() if path.is_dir()}


def test_building_leaves_the_source_tree_alone() -> None:
    """Everything is made in SAM's own folders."""
    command = ["git", "status", "--porcelain", "--ignored", "layers", "event_service"]
    status = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line for line in status.splitlines() if line.startswith("!!") and "__pycache__" not in line] == []
