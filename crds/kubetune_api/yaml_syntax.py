"""From text to YAML nodes, which carry their places; and sentences for text that is not YAML.

What PyYAML says of such text is put for people who do not know its scanner.
"""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from kubetune_api.yaml_scalars import IMPLICIT_TAG

MAX_DEPTH = 64
"""Levels of nesting."""
TOO_DEEP = f"more than {MAX_DEPTH} levels of nesting; make it flatter"


_LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_CLOSE = "open here; close them"
_SECOND_DOCUMENT = "a second document starts here; put a line of `---` before it"
_SENTENCES = (
    (
        "expected '<document start>', but found '<stream end>'",
        "kubectl does not support directives; remove the lines that start with `%`",
    ),
    ("expected '<document start>'", _SECOND_DOCUMENT),
    ("found character '\\t'", "a tab is not allowed here; indent with spaces"),
    (
        "mapping values are not allowed",
        "a `:` is not allowed here; check the indentation of this line and the"
        " one above, and quote a text that contains `: `",
    ),
    ("could not find expected ':'", "a name without its `:`; write `name: value`"),
    ("found unexpected end of stream", "the text ends inside the quotes that open here; close them"),
    ("but found '<stream end>'", "the text ends inside brackets; close them"),
    ("but got '<stream end>'", "the text ends inside the brackets that open here; close them"),
    (
        "expected alphabetic or numeric character",
        "an alias or anchor needs a name; quote a text that starts with `*` or `&`",
    ),
    ("found undefined alias", "the alias names no anchor above it; quote a text that starts with `*`"),
    ("sequence entries are not allowed", "a list item is not allowed here; put `- ` on a line of its own"),
    ("cannot start any token", "a text cannot start with this character; put it in quotes"),
    ("unknown escape character", "no such escape in double quotes; write `\\\\` for a backslash, or use single quotes"),
    ("but found '-'", "the indentation of this list item fits none of the lines above; align it with its siblings"),
    ("expected <block end>", "the indentation of this line fits none of the lines above; align it with its siblings"),
    ("expected ',' or", "between brackets, a `,` or the closing bracket is missing here"),
    ("found duplicate anchor", "the anchor is defined twice; give one of them another name"),
)


class YamlError(Exception):
    """The text cannot be read. The line is counted from 0; the message is a sentence with the remedy."""

    def __init__(self, line_index: int, message: str) -> None:
        super().__init__(line_index, message)
        self.line_index = line_index
        self.message = message


def compose(text: str) -> yaml.Node | None:
    """The root of a text of one document; None if it has none. Raises `YamlError`, and nothing else on any text."""
    try:
        nodes: Any = _Nodes(text)
        nodes.get_event()
        if nodes.check_event(yaml.StreamEndEvent):
            return None
        root: yaml.Node = nodes.compose_document()
        if not nodes.check_event(yaml.StreamEndEvent):
            raise YamlError(nodes.peek_event().start_mark.line, _SECOND_DOCUMENT)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise YamlError(*_explain(error, text)) from error
    return root


class _Nodes(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's composer, with a bound, and without its own idea of what unquoted text means."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0]:
            return IMPLICIT_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def scan_to_next_token(self) -> None:
        # As libyaml and go-yaml, unlike PyYAML: a tab may part a value from its name, though never indent a field.
        scanner: Any = super()
        scanner.scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            scanner.scan_to_next_token()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise YamlError(mark.line, TOO_DEEP)
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.ScalarEvent) and event.tag == "!":
            event.implicit = (False, True)  # `! 5` is a text
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _explain(error: Exception, text: str) -> tuple[int, str]:
    """The line of an error of PyYAML, counted from 0, and a sentence with the remedy."""
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position)
        return line, f"the character U+{ord(text[error.position]):04X} is not allowed in YAML; remove it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return 0, "an escape such as `\\U0010FFFF` in double quotes names a character that does not exist; correct it"
    problem = error.problem or str(error)
    sentence = next((said for part, said in _SENTENCES if part in problem), f"the text is not YAML: {problem}")
    mark = error.context_mark if sentence.endswith(_CLOSE) else error.problem_mark
    # What is found wrong at the end is found behind the last line.
    last = max(0, len(_LINE_END.findall(text)) - 1)
    return min(mark.line if mark else 0, last), sentence
