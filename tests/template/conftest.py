"""The template as CloudFormation gets to see it: transformed by SAM's own translator."""

from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
# The secret with which the function connects: never the master's.
ROLE_SECRET = {"Fn::If": ["CreateDatabase", {"Ref": "DatabaseRoleSecret"}, {"Ref": "DatabaseSecretArn"}]}


class NoManagedPolicies:
    """The template names none by its short name."""

    def load(self) -> dict[str, str]:
        return {}


@pytest.fixture(scope="session")
def source() -> Any:
    return yaml_parse(TEMPLATE.read_text())


@pytest.fixture(scope="session")
def template() -> Any:
    """The transformed template, with the defaults of its parameters where SAM wants values."""
    parsed = yaml_parse(TEMPLATE.read_text())
    functions = ("EventServiceFunction", "MigrationFunction", "ReadApiFunction", "SweeperFunction")
    for name in (*functions, "DependenciesLayer"):
        properties = parsed["Resources"][name]["Properties"]
        properties["CodeUri" if "CodeUri" in properties else "ContentUri"] = "s3://bucket/key"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(parsed, {}, NoManagedPolicies())


@pytest.fixture(scope="session")
def resources(template: Any) -> Any:
    return template["Resources"]
