"""What CloudFormation makes of the templates for given parameters: conditions decided, parameters put in."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from samtranslator.yaml_helper import yaml_parse

from tests.template.conftest import TEMPLATE

_PSEUDO = "AWS::"
_MAPPINGS = "Mappings"
_REGION = "us-east-1"
_STACK = "AWS::CloudFormation::Stack"


def deployed(given: Mapping[str, str], **changed_settings: str) -> Any:
    """Return resources and outputs of the service with its nested stacks, as one template."""
    template = yaml_parse(TEMPLATE.read_text())
    for environment in template["Mappings"]["Settings"].values():
        environment.update(changed_settings)
    top = resolve(template, given)
    resources, outputs = {}, {}
    for name, resource in top["Resources"].items():
        if resource["Type"] != _STACK:
            resources[name] = resource
            continue
        path = TEMPLATE.parent / resource["Properties"]["TemplateURL"]
        nested = resolve(yaml_parse(path.read_text()), resource["Properties"]["Parameters"])
        assert not resources.keys() & nested["Resources"].keys()
        resources |= nested["Resources"]
        outputs[name] = {key: output["Value"] for key, output in nested["Outputs"].items()}
    return _hand_on({"Resources": resources, "Outputs": top["Outputs"]}, outputs)


def _hand_on(value: Any, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    """Put the values of the nested stacks' outputs where they are used."""
    match value:
        case {"Fn::GetAtt": [name, attribute]} if name in outputs:
            return _hand_on(outputs[name][attribute.removeprefix("Outputs.")], outputs)
        case dict():
            return {key: _hand_on(each, outputs) for key, each in value.items()}
        case list():
            return [_hand_on(each, outputs) for each in value]
    return value


def resolve(template: Any, given: Mapping[str, Any]) -> Any:
    """Return resources and outputs as they are for these parameters, the others having their defaults.

    References to resources stay. https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-conditions.html
    """
    unknown = given.keys() - template["Parameters"].keys()
    assert not unknown, unknown
    values = _values(template, given)
    conditions = template["Conditions"]
    present = {
        section: {
            name: {key: value for key, value in part.items() if key != "Condition"}
            for name, part in template.get(section, {}).items()
            if "Condition" not in part or _holds({"Condition": part["Condition"]}, conditions, values)
        }
        for section in ("Resources", "Outputs")
    }
    return _put_in(present, conditions, values)


def _values(template: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all parameters, and the mappings under their own key."""
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in template["Parameters"].items()}
    return defaults | {"AWS::Region": _REGION} | dict(given) | {_MAPPINGS: template.get("Mappings", {})}


def broken_rules(template: Any, given: Mapping[str, str]) -> set[str]:
    """Return the names of the rules that refuse these parameters."""
    values = _values(template, given)
    return {
        name
        for name, rule in template["Rules"].items()
        if ("RuleCondition" not in rule or _holds(rule["RuleCondition"], {}, values))
        and not all(_holds(assertion["Assert"], {}, values) for assertion in rule["Assertions"])
    }


def references(value: Any) -> Iterator[str]:
    """Yield the names of the resources and parameters that are referred to."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "Ref":
                yield each
            elif key == "Fn::GetAtt":
                yield each[0] if isinstance(each, list) else each.partition(".")[0]
            elif key == "Fn::Sub":
                text, own = (each, {}) if isinstance(each, str) else each
                yield from (name for name in re.findall(r"\$\{([\w:]+)", text) if name not in own)
                yield from references(own)
            elif key == "DependsOn":
                yield from [each] if isinstance(each, str) else each
            else:
                yield from references(each)


def _holds(condition: Any, conditions: Any, values: Mapping[str, Any]) -> bool:
    ((function, operand),) = condition.items()
    match function:
        case "Condition":
            return _holds(conditions[operand], conditions, values)
        case "Fn::Not":
            return not _holds(operand[0], conditions, values)
        case "Fn::And":
            return all(_holds(each, conditions, values) for each in operand)
        case "Fn::Or":
            return any(_holds(each, conditions, values) for each in operand)
        case "Fn::Equals":
            left, right = (_text(each, values) for each in operand)
            return bool(left == right)
        case "Fn::EachMemberEquals":
            texts, text = (str(_text(each, values)) for each in operand)
            return all(each == text for each in texts.split(","))
    raise NotImplementedError(function)


def _text(value: Any, values: Mapping[str, Any]) -> Any:
    match value:
        case {"Ref": name}:
            return values[name]
        case {"Fn::FindInMap": _}:
            return str(_found_in_map(value, values))
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{(\w+)\}", lambda match: str(values[match[1]]), text)
        case {"Fn::Select": [number, {"Fn::Split": [separator, text]}]}:
            return _text(text, values).split(separator)[number]
        case {"Fn::Join": [separator, parts]}:
            # A list is what its text says, separated by commas.
            texts = _text(parts, values).split(",") if isinstance(parts, dict) else [_text(p, values) for p in parts]
            return cast("str", separator).join(texts)
    return str(value)


def _found_in_map(value: Any, values: Mapping[str, Any]) -> Any:
    mapping, *keys = value["Fn::FindInMap"]
    found = values[_MAPPINGS][mapping]
    for key in keys:
        found = found[_text(key, values)]
    return found


def _put_in(value: Any, conditions: Any, values: Mapping[str, Any]) -> Any:
    """Decide every `Fn::If`, leave out what has no value, and put the parameters' values in."""
    match value:
        case {"Fn::If": [name, yes, no]}:
            chosen = yes if _holds({"Condition": name}, conditions, values) else no
            return _put_in(chosen, conditions, values)
        case {"Ref": name} if name in values and not is_pseudo(name):
            return values[name]
        case {"Fn::FindInMap": _}:
            return _found_in_map(value, values)
        case dict():
            items = {key: _put_in(each, conditions, values) for key, each in value.items()}
            return {key: each for key, each in items.items() if each != {"Ref": "AWS::NoValue"}}
        case list():
            each_of = [_put_in(each, conditions, values) for each in value]
            return [each for each in each_of if each != {"Ref": "AWS::NoValue"}]
    return value


def is_pseudo(name: str) -> bool:
    """Tell whether CloudFormation itself has a value of this name."""
    return name.startswith(_PSEUDO)


def properties(resources: Any, name: str) -> Any:
    return resources[name]["Properties"]


def managed_policies(output: str) -> Any:
    """Return what a role has that uses the database: the policies that the nested stack makes for it."""
    return [
        {"Fn::If": [condition, {"Fn::GetAtt": ["DatabaseStack", f"Outputs.{name}"]}, {"Ref": "AWS::NoValue"}]}
        for condition, name in (("UseDatabaseSecret", output), ("InVpc", "NetworkAccess"))
    ]


def settings(source: Any, environment: str) -> Any:
    """Return what is decided for an environment: a row of the template's Settings."""
    return source["Mappings"]["Settings"][environment]
