"""What CloudFormation makes of the transformed template for given parameters: conditions decided, parameters put in."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

_PSEUDO = "AWS::"


def resolve(template: Any, given: Mapping[str, str]) -> Any:
    """Return resources and outputs as they are for these parameters, the others having their defaults.

    References to resources stay. https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-conditions.html
    """
    unknown = given.keys() - template["Parameters"].keys()
    assert not unknown, unknown
    values = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()} | dict(given)
    conditions = template["Conditions"]
    present = {
        name: {key: value for key, value in resource.items() if key != "Condition"}
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or _holds({"Condition": resource["Condition"]}, conditions, values)
    }
    return _put_in({"Resources": present, "Outputs": template["Outputs"]}, conditions, values)


def broken_rules(template: Any, given: Mapping[str, str]) -> set[str]:
    """Return the names of the rules that refuse these parameters."""
    values = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()} | dict(given)
    return {
        name
        for name, rule in template["Rules"].items()
        if _holds(rule["RuleCondition"], {}, values)
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


def _holds(condition: Any, conditions: Any, values: Mapping[str, str]) -> bool:
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
            return left == right
        case "Fn::EachMemberEquals":
            texts, text = (_text(each, values) for each in operand)
            return all(each == text for each in texts.split(","))
    raise NotImplementedError(function)


def _text(value: Any, values: Mapping[str, str]) -> str:
    match value:
        case {"Ref": name}:
            return values[name]
        case {"Fn::Join": [separator, parts]}:
            # A list is what its text says, separated by commas.
            texts = _text(parts, values).split(",") if isinstance(parts, dict) else [_text(p, values) for p in parts]
            return cast("str", separator).join(texts)
    return str(value)


def _put_in(value: Any, conditions: Any, values: Mapping[str, str]) -> Any:
    """Decide every `Fn::If`, leave out what has no value, and put the parameters' values in."""
    match value:
        case {"Fn::If": [name, yes, no]}:
            chosen = yes if _holds({"Condition": name}, conditions, values) else no
            return _put_in(chosen, conditions, values)
        case {"Ref": name} if name in values:
            return values[name]
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
