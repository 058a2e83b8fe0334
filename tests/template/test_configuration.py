"""samconfig.toml and the workflow give the parameters that the template takes."""

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from samcli.cli.types import CfnParameterOverridesType
from samtranslator.yaml_helper import yaml_parse

from tests.template.conftest import TEMPLATE
from tests.template.resolver import broken_rules

CONFIGURATION = tomllib.loads((TEMPLATE.parent / "samconfig.toml").read_text())
WORKFLOW = TEMPLATE.parent / ".github" / "workflows" / "ci.yml"


def overrides(environment: str) -> dict[str, str]:
    """Return the parameters that an environment of samconfig.toml gives, as SAM reads them."""
    return parsed(CONFIGURATION[environment]["deploy"]["parameters"]["parameter_overrides"])


def parsed(text: str) -> dict[str, str]:
    parameters: dict[str, str] = CfnParameterOverridesType().convert((text,), None, None)
    return parameters


def refused(source: Any, given: Mapping[str, str]) -> set[str]:
    """Return the names of the parameters that do not exist, or may not have this value."""
    parameters = source["Parameters"]
    return {
        name
        for name, value in given.items()
        if name not in parameters
        or value not in parameters[name].get("AllowedValues", [value])
        or not re.fullmatch(parameters[name].get("AllowedPattern", ".*"), value)
    }


def deploy_command(alarm_email: str) -> list[str]:
    """Return the arguments with which the workflow runs SAM, as the shell makes them."""
    steps = yaml_parse(WORKFLOW.read_text())["jobs"]["deploy"]["steps"]
    (command,) = (step["run"] for step in steps if "sam deploy" in step.get("run", ""))
    result = subprocess.run(
        ["/bin/sh", "-ec", command.replace(".venv/bin/sam", "printf '%s\\n'")],
        env=os.environ | {"ALARM_EMAIL": alarm_email},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_environment_chooses_its_row_of_the_settings(source: Any, environment: str) -> None:
    """The rest has defaults: what differs between environments is in the template."""
    given = overrides(environment)
    assert given["Environment"] == environment
    assert refused(source, given) == set()


def test_production_lacks_nothing_but_an_address_for_alarms(source: Any) -> None:
    """The repository cannot know the address; development needs nothing."""
    assert broken_rules(source, overrides("dev")) == set()
    assert broken_rules(source, overrides("prod")) == {"AlarmsOfProductionReachSomebody"}
    assert broken_rules(source, overrides("prod") | {"AlarmEmail": "night@example.com"}) == set()


def test_the_workflow_deploys_production_with_an_address_for_alarms(source: Any) -> None:
    """Its options replace the parameters of samconfig.toml: it has to repeat them."""
    arguments = deploy_command("night@example.com")
    assert arguments[arguments.index("--config-env") + 1] == "prod"
    given = parsed(" ".join(arguments[arguments.index("--parameter-overrides") + 1 :]))
    assert given == overrides("prod") | {"AlarmEmail": "night@example.com"}
    assert refused(source, given) == set()
    assert broken_rules(source, given) == set()


def test_the_workflow_does_not_deploy_without_an_address_for_alarms() -> None:
    """It says which variable is missing."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        deploy_command("")
    assert "ALARM_EMAIL: the environment production needs this variable" in caught.value.stderr


def test_the_command_in_samconfig_gives_production_what_it_needs(source: Any) -> None:
    """Its first deployment."""
    comment = (TEMPLATE.parent / "samconfig.toml").read_text()
    (options,) = re.findall(r"--config-env prod --parameter-overrides ([^`]+)`", comment)
    given = parsed(options.replace("ADDRESS", "night@example.com"))
    assert refused(source, given) == set()
    assert broken_rules(source, given) == set()
