"""The templates as CloudFormation gets to see them: that of the service transformed by SAM's own translator."""

from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
INFRA = TEMPLATE.parent / "infra"
NESTED = (INFRA / "database.yaml", INFRA / "monitoring.yaml")
EXISTING = INFRA / "existing.yaml"
ALL_TEMPLATES = (TEMPLATE, *NESTED, EXISTING)


class NoManagedPolicies:
    """The template names none by its short name."""

    def load(self) -> dict[str, str]:
        return {}


@pytest.fixture(scope="session")
def source() -> Any:
    """The template of the service as it is written, with the short forms of functions as long ones."""
    return yaml_parse(TEMPLATE.read_text())


@pytest.fixture(scope="session")
def template() -> Any:
    """The transformed template of the service, with the defaults of its parameters where SAM wants values."""
    return transformed_template({})


def transformed_template(given: dict[str, str], **changed: dict[str, str]) -> Any:
    """Return what SAM makes of the template of the service; `changed` has properties by resource."""
    parsed = yaml_parse(TEMPLATE.read_text())
    functions = ("EventServiceFunction", "OperationsFunction", "ReadApiFunction", "SweeperFunction")
    for name in (*functions, "DependenciesLayer"):
        properties = parsed["Resources"][name]["Properties"]
        properties["CodeUri" if "CodeUri" in properties else "ContentUri"] = "s3://bucket/key"
    for name, properties in changed.items():
        parsed["Resources"][name]["Properties"].update(properties)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(parsed, given, NoManagedPolicies())


@pytest.fixture(scope="session")
def resources(template: Any) -> Any:
    """The resources of the service, the database and the monitoring: their names are distinct."""
    found = dict(template["Resources"])
    for path in NESTED:
        nested = yaml_parse(path.read_text())["Resources"]
        assert not found.keys() & nested.keys()
        found |= nested
    return found
