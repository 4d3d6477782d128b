"""The text of a rollout's document, JSON or YAML, as values. Nothing in it is run, and nothing in it repeats itself."""

import re
from typing import Any

import msgspec
import yaml

from router.errors import InvalidArgument, PayloadTooLarge

LONGEST = 256 * 1024

_BOOL, _TIMESTAMP = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"


def _resolvers() -> dict[Any, Any]:
    kept = {
        first: [(tag, pattern) for tag, pattern in known if tag not in (_BOOL, _TIMESTAMP)]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return {**kept, **{first: [*kept.get(first, []), (_BOOL, re.compile("^(?:true|false)$"))] for first in "tf"}}


class _Loader(yaml.SafeLoader):
    """Plain values only, as YAML 1.2 has them: `on`, `yes` and dates are text. A key that is written twice, and aliases
    (which can grow without bound), are refused."""

    yaml_implicit_resolvers = _resolvers()

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise InvalidArgument("aliases (`*name`) are not understood here; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise InvalidArgument(f"{str(key.value)[:64]}: is there twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_document(text: str | bytes) -> Any:
    """The document in a text, JSON or YAML. Raises InvalidArgument with line and column."""
    if len(text) > LONGEST:
        raise PayloadTooLarge(f"a rollout is at most {LONGEST} bytes long")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return _read_yaml(text)
    except RecursionError as error:
        raise InvalidArgument("not YAML or JSON: nested too deeply") from error


def _read_yaml(text: str | bytes) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidArgument(f"not YAML or JSON: {where}{error.problem or 'not understood'}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidArgument("not YAML or JSON: not understood") from error
