"""JSON values as YAML that every reader takes for the same values.

PyYAML's own writer is no help here: it leaves `1e5` and `0o17` bare, which readers of YAML 1.2 take for numbers, writes
characters that drive a terminal as they are, and takes seven seconds for a status of 10,000 clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1 or 1.2 takes for something else than text, in any case; whatever else it does has no letter first."""
_NOT_ASCII: Final = re.compile(r"[^\n -~]")
_LONGEST_KEY: Final = 1000  # characters; YAML has a `?` before a key of more than 1024, as a daemon's column may be


def yaml_text(value: Any) -> str:
    r"""YAML of a jsonable value: what it reads back as is equal to it, in YAML 1.1 and 1.2.

    Text stands bare where nobody can take it for anything else, else in double quotes as in JSON. What would act on a
    terminal unseen is written as `\u` and four digits.

    Raises:
        ValueError: a number that JSON does not have.
    """
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _entry(_text(key), item)
    elif isinstance(value, list) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(key: str, item: Any) -> Iterator[str]:
    if len(key) > _LONGEST_KEY:
        yield f"? {key}"
        lines = _lines(item)
        yield f": {next(lines)}"
        yield from (f"  {line}" for line in lines)
    elif item and isinstance(item, dict | list):
        yield f"{key}:"
        indent = "  " if isinstance(item, dict) else ""
        yield from (indent + line for line in _lines(item))
    else:
        yield f"{key}: {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    text = json.dumps(value, allow_nan=False)  # numbers, true, false, null, and what is empty, are the same in YAML
    if isinstance(value, float) and "." not in text:
        return text.replace("e", ".0e", 1)  # YAML 1.1 has no number `1e+16`
    return text


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _NOT_ASCII.sub(_spell, json.dumps(text, ensure_ascii=False))


def _spell(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the last code that \u spells
