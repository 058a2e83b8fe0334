"""The built packages: the service's own, and the baseline as `sam build` packages a function by itself."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from local.deployment import ROOT, build

_RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What the baseline imports, at the versions that the service has.
_REQUIREMENTS = {
    "aws-lambda-powertools": "[tracer]",
    "boto3": "",
    "botocore": "",
    "psycopg": "[binary]",
    "pydantic": "",
}
_TEMPLATE = f"""
Transform: AWS::Serverless-2016-10-31
Resources:
  Baseline:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: source/
      Handler: benchmarks.baseline.traced.lambda_handler
      Runtime: {_RUNTIME}
"""


@dataclass(frozen=True)
class Package:
    """A built function: its folders in the order of the runtime's path, and its handler."""

    folders: tuple[Path, ...]
    handler: str

    def unzipped_mib(self) -> float:
        """Return the size of its files."""
        return sum(path.stat().st_size for path in self._files()) / 2**20

    def zipped_mib(self, scratch: Path) -> float:
        """Return the size of its archive, packed as SAM packs it; the archive is made in a scratch folder."""
        archive = scratch / "package.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for number, path in enumerate(self._files()):
                file.write(path, f"{number}/{path.name}")
        return archive.stat().st_size / 2**20

    def has_bytecode(self) -> bool:
        """Tell whether the package brings its modules compiled."""
        return any(path.suffix == ".pyc" for path in self._files())

    def _files(self) -> list[Path]:
        return [path for folder in self.folders for path in folder.rglob("*") if path.is_file()]


def build_service(directory: Path, *, for_this_machine: bool) -> Package:
    """Build the real template, for this machine's Python and processor or for those it is deployed to."""
    if for_this_machine:
        build(directory)
    else:
        _sam_build(ROOT, directory)
    folders = (directory / "EventServiceFunction", directory / "DependenciesLayer" / "python")
    return Package(folders, "event_service.handler.lambda_handler")


def build_baseline(directory: Path) -> Package:
    """Build the baseline for this machine with SAM's own Python builder."""
    source = directory / "source"
    for package in ("benchmarks/baseline", "event_service"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    requirements = [f"{name}{extra}=={version(name)}\n" for name, extra in _REQUIREMENTS.items()]
    (source / "requirements.txt").write_text("".join(requirements))
    (directory / "template.yaml").write_text(_TEMPLATE)
    _sam_build(directory, directory / "built")
    return Package((directory / "built" / "Baseline",), "benchmarks.baseline.traced.lambda_handler")


def _sam_build(project: Path, directory: Path) -> None:
    tools = Path(sys.executable).parent  # `sam`, and the Python of the runtime by its name
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [tools / "sam", "build", "--build-dir", directory],
        cwd=project,
        env=os.environ | {"SAM_CLI_TELEMETRY": "0", "PYTHON": sys.executable, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`sam build` failed:\n{done.stdout}{done.stderr}")
