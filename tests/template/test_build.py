import os
import re
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]


# The sources of the build; the rest of the tree may change under other tests.
SOURCES = ("event_service", "layers")
OPERATORS = {"cloudformation", "lambda", "logs", "sqs"}  # services that a command reaches from an operator's machine


@pytest.fixture(scope="session")
def sources_before() -> set[str]:
    return source_files()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, sources_before: set[str]) -> Path:
    """What `sam build` makes for AWS."""
    directory = tmp_path_factory.mktemp("build")
    command = [str(Path(sys.executable).with_name("sam")), "build", "--build-dir", str(directory)]
    environment = os.environ | {"SAM_CLI_TELEMETRY": "0", "PYTHON": sys.executable}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return directory


def make(artifacts: Path, *variables: str) -> str:
    """Build the function alone, for the Python of the tests, and return what make said."""
    makefile = ROOT / "layers" / "targets" / "local" / "Makefile"
    command = ["make", "-f", str(makefile), "build-EventServiceFunction", f"ARTIFACTS_DIR={artifacts}", *variables]
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(
        command, cwd=ROOT / "event_service", env=environment, capture_output=True, text=True, check=True
    ).stdout


def source_files() -> set[str]:
    files = {f"{source}/{name}" for source in SOURCES for name in files_of(ROOT / source)}
    return {name for name in files if not name.endswith(".pyc")}


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
    """The layer leaves out the others, and those that only commands on an operator's machine use."""
    code = "".join(path.read_text() for path in (ROOT / "event_service").rglob("*.py"))
    used = set(re.findall(r'make_(?:patient_)?(?:client|transport)\b[^"\n]*"(\w+)"', code))
    data = built / "DependenciesLayer" / "python" / "botocore" / "data"
    assert used - OPERATORS == {path.name for path in data.iterdir() if path.is_dir()}


def test_building_leaves_the_source_tree_alone(sources_before: set[str], built: Path) -> None:
    """Everything is made in SAM's own folders."""
    assert built.is_dir()
    assert source_files() == sources_before


def test_every_module_comes_with_bytecode_that_is_never_checked(tmp_path: Path) -> None:
    """For the Python it was built for, whatever packaging does to time stamps; its file names are those in Lambda."""
    make(tmp_path / "with space")
    package = tmp_path / "with space" / "event_service"
    modules = {path.stem for path in package.glob("*.py")}
    compiled = list((package / "__pycache__").glob("*.pyc"))
    assert {path.name.split(".")[0] for path in compiled} == modules
    for path in compiled:
        code = path.read_bytes()
        assert code[:4] == MAGIC_NUMBER
        # 1 = hash-based, without the bit for checking the source: https://peps.python.org/pep-0552/
        assert int.from_bytes(code[4:8], "little") == 1
        assert b"/var/task/event_service/" in code


def test_a_build_without_that_python_says_so_and_has_no_bytecode(tmp_path: Path) -> None:
    """Bytecode of another version would be dead weight."""
    said = make(tmp_path, "RUNTIME=python3.0")
    assert "no python3.0 on this machine: the package is built without bytecode" in said
    assert not [name for name in files_of(tmp_path) if name.endswith(".pyc")]


def test_the_template_chooses_what_the_package_is_built_for(tmp_path: Path) -> None:
    """A changed runtime or processor there gives another layer; without one the build fails."""
    root = tmp_path / "with space"
    shutil.copytree(ROOT / "layers", root / "layers")
    template = (ROOT / "template.yaml").read_text()
    command = ["make", "-n", "-f", str(root / "layers" / "targets" / "aws" / "Makefile"), "build-DependenciesLayer"]
    for runtime, architecture, machine in (("python3.13", "arm64", "aarch64"), ("python3.14", "x86_64", "x86_64")):
        changed = template.replace(
            "Runtime: python3.13, Architecture: arm64", f"Runtime: {runtime}, Architecture: {architecture}"
        )
        (root / "template.yaml").write_text(changed)
        planned = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert f"--python-version {runtime.removeprefix('python')}" in planned
        assert set(re.findall(r"--platform manylinux\w*?_(x86_64|aarch64)", planned)) == {machine}
    (root / "template.yaml").write_text(template.replace("Package: {", "Other: {"))
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "template.yaml names no runtime and architecture" in refused.stderr


def test_the_function_runs_on_what_it_was_built_for(built: Path) -> None:
    """What `sam deploy` gets fixes both to those of the package, and has no parameter that could change them."""
    template = yaml_parse((built / "template.yaml").read_text())
    package = template["Mappings"]["Target"]["Package"]
    assert (package["Runtime"], package["Architecture"]) == ("python3.13", "arm64")
    runtime, architecture = ({"Fn::FindInMap": ["Target", "Package", key]} for key in ("Runtime", "Architecture"))
    built_resources = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] in ("AWS::Serverless::Function", "AWS::Serverless::LayerVersion")
    ]
    assert len(built_resources) == 5
    for properties in built_resources:
        assert (properties.get("Runtime") or properties["CompatibleRuntimes"][0]) == runtime
        assert (properties.get("Architectures") or properties["CompatibleArchitectures"]) == [architecture]


def test_the_layer_has_what_the_page_of_the_read_api_is_made_of(built: Path) -> None:
    """Powertools ships Swagger UI; packaging must not strip it."""
    (swagger,) = (built / "DependenciesLayer").rglob("swagger_ui")
    assert {"swagger-ui-bundle.min.js", "swagger-ui.min.css"} <= files_of(swagger)


def test_the_queue_function_loads_nothing_of_the_read_api() -> None:
    """Its cold start does not pay for it."""
    code = "import sys, event_service.handler; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = result.stdout.split()
    assert "aws_lambda_powertools.utilities.batch" in loaded
    assert not [
        name
        for name in loaded
        if "event_handler" in name or name.startswith(("event_service.api", "event_service.adapters.event_history"))
    ]
