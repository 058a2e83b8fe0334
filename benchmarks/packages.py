"""The built packages: the service's, and the baseline as `sam build` packages a function without a Makefile."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from local.deployment import ROOT
from local.invoke import Package

# What the baseline imports, at the service's versions.
_REQUIREMENTS = ("aws-lambda-powertools[tracer]", "boto3", "botocore", "psycopg[binary]", "pydantic")
_TEMPLATE = f"""
Transform: AWS::Serverless-2016-10-31
Resources:
  Baseline:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: source/
      Handler: benchmarks.baseline.traced.lambda_handler
      Runtime: python{sys.version_info.major}.{sys.version_info.minor}
"""


def build_baseline(directory: Path) -> Package:
    """Build the baseline for this machine with SAM's own Python builder."""
    source = directory / "source"
    for package in ("benchmarks/baseline", "event_service"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    pinned = [f"{requirement}=={version(requirement.partition('[')[0])}\n" for requirement in _REQUIREMENTS]
    (source / "requirements.txt").write_text("".join(pinned))
    (directory / "template.yaml").write_text(_TEMPLATE)
    sam_build(directory, directory / "built")
    return Package((directory / "built" / "Baseline",), "benchmarks.baseline.traced.lambda_handler")


def sam_build(project: Path, directory: Path) -> None:
    """Run `sam build` in a project, as on the command line."""
    tools = Path(sys.executable).parent  # `sam`, and the runtime's Python by its name
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"SAM_CLI_TELEMETRY": "0", "PYTHON": sys.executable, "PATH": path}
    command = [str(tools / "sam"), "build", "--build-dir", str(directory)]
    done = subprocess.run(
        command, cwd=project, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"`sam build` failed:\n{done.stdout}{done.stderr}")


def files_of(package: Package) -> list[Path]:
    """Return the package's files."""
    return [path for folder in package.folders for path in folder.rglob("*") if path.is_file()]


def zipped_mib(package: Package, scratch: Path) -> float:
    """Return the size of its archive, packed as SAM packs it, in a scratch folder."""
    archive = scratch / "package.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for number, path in enumerate(files_of(package)):
            file.write(path, f"{number}/{path.name}")
    return archive.stat().st_size / 2**20
