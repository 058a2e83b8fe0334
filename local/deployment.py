"""Builds the real template with `sam build` and deploys it to the embedded stack with `sam deploy`."""

import fcntl
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.stack import Stack, running_stack

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".aws-sam" / "local"
_LOCK = ROOT / ".aws-sam" / "local.lock"
_STACK_NAME = "event-service"


class DeploymentError(Exception):
    """`sam` failed; the text is its output."""


@dataclass(frozen=True)
class Deployment:
    """A deployed service: the values of the template's outputs, by name."""

    outputs: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.outputs[name]


@contextmanager
def deployed_stack(
    directory: Path, parameters: dict[str, str], progress: Callable[[str], None]
) -> Iterator[tuple[Stack, Deployment]]:
    """Build, start the stack with its data in a directory, and deploy; stop everything at the end."""
    with ThreadPoolExecutor(1) as background:
        progress("building the functions and their layer (sam build)")
        building = background.submit(build)
        with running_stack(directory, progress) as stack:
            building.result()
            progress("deploying the template (sam deploy)")
            yield stack, deploy(stack, {"DatabaseUrl": stack.database_url} | parameters)
            progress("stopping")


def build(directory: Path = BUILD) -> None:
    """Build the functions and their layer for this machine's Python and processor."""
    template = directory.with_suffix(".yaml")
    sources = ("--template-file", str(template), "--base-dir", str(ROOT))
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent builds would break each other's cache
        template.write_text(_for_this_machine((ROOT / "template.yaml").read_text()))
        _sam("build", "--cached", *sources, "--build-dir", str(directory))


def _for_this_machine(template: str) -> str:
    """Return the template with this machine as its target: the emulator runs the functions right here.

    The emulator has no CodeDeploy: an update takes effect at once.
    """
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    architecture = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = (
        f"{{ Runtime: {runtime}, Architecture: {architecture}, Makefile: layers/targets/local, CodeDeploy: false }}"
    )
    changed, count = re.subn(r"^(    Package: )\{.*\}$", rf"\g<1>{package}", template, flags=re.MULTILINE)
    if count != 1:
        raise DeploymentError(f"template.yaml names {count} targets instead of one")
    return re.sub(r"^( +TemplateURL: )(?=infra/)", rf"\g<1>{ROOT}/", changed, flags=re.MULTILINE)


def deploy(stack: Stack, parameters: dict[str, str], *, name: str = _STACK_NAME, directory: Path = BUILD) -> Deployment:
    """Deploy the build with these values of the template's parameters."""
    _sam(
        "deploy",
        "--template-file",
        str(directory / "template.yaml"),
        "--stack-name",
        name,
        "--parameter-overrides",
        *(f"ParameterKey={key},ParameterValue={value}" for key, value in parameters.items()),
        environment=stack.environment(),
    )
    stacks = stack.client("cloudformation").describe_stacks(StackName=name)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks["Stacks"][0]["Outputs"]}
    _mend_maximum_concurrency(stack, outputs["EventServiceFunctionName"])
    return Deployment(outputs)


def _mend_maximum_concurrency(stack: Stack, function: str) -> None:
    """Set it as a number: the emulator keeps the template parameter as text, and then fails on it."""
    client = stack.client("lambda")
    for mapping in client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]:
        concurrency = int(mapping["ScalingConfig"]["MaximumConcurrency"])
        client.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": concurrency})


def _sam(*arguments: str, environment: dict[str, str] | None = None) -> None:
    command = [
        str(Path(sys.executable).with_name("sam")),
        *arguments,
        "--config-file",
        str(ROOT / "samconfig.toml"),
        "--config-env",
        "local",
    ]
    quiet = {"SAM_CLI_TELEMETRY": "0", "PYTHON": sys.executable}
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | quiet | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise DeploymentError(f"`sam {arguments[0]}` failed:\n{result.stdout}{result.stderr}")
