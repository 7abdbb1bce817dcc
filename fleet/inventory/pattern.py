"""Which servers are meant: Ansible's host patterns.

    edge-1   eu   gw/udp         a server, a group, a host (all its daemons), one daemon
    edge-*   edge-?   [ab]*      globs over the names of groups, hosts and servers
    ~edge-[0-9]+                 a regular expression that matches at the beginning of such a name
    a:b   a,b                    union
    a:!b   a:&b                  without b; only those in b as well
    vpn[01:09]   vpn-[01-09]     the names vpn01 to vpn09; several in brackets: [1-3,7]
    eu[0]   eu[-1]   eu[0:2]     by number: servers of a group or of a glob, in inventory order, the end included
    @file                        one pattern a line; blank lines and those that begin with # do not count

As in Ansible unions are made first, then intersections, then exclusions, wherever they stand; only intersections and
exclusions start from `all`. Unlike Ansible, a name that names no server is an error everywhere.
"""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fleet.errors import EmptyTargetError, UsageError
from fleet.inventory.model import Inventory, Server
from fleet.inventory.names import MAX_RANGE, count_product, expand_range, is_ipv6
from fleet.inventory.tree import escaped, quote

MAX_PATTERN = 64 * 1024
"""Security limit: characters of one pattern."""

MAX_FILE = 16 * 1024 * 1024
"""Security limit: bytes of an @file."""

_SUBSCRIPT = re.compile(r"(?P<base>.+)\[(?:(?P<index>-?[0-9]{1,9})|(?P<start>[0-9]{1,9}):(?P<end>[0-9]{0,9}))\]")
_RANGE_ITEM = re.compile(r"[0-9]+|[0-9]+[-:][0-9]+(?:[-:][0-9]+)?|[A-Za-z][-:][A-Za-z](?::[0-9]+)?")
_BRACKETS = re.compile(r"\[(!?\]?[^\[\]]*)\]")
_PLAIN = re.compile(r"[A-Za-z0-9_.*?/-]+")  # no separator, sign or bracket: an @file has thousands of these


def select(
    inventory: Inventory, limits: Sequence[str], excludes: Sequence[str] = (), *, allow_empty: bool = False
) -> tuple[Server, ...]:
    """The servers that are meant, in inventory order.

    Args:
        inventory: what there is.
        limits: patterns that are read as one, with `:` between them: `eu` and `!edge-1` are `eu:!edge-1`, as in a list
            of patterns in Ansible. None at all means every server.
        excludes: patterns; the servers of any of them are not.
        allow_empty: accept a pattern, and a result, without a server. An exclusion that names what the inventory
            does not have stays an error: it would widen the target.

    Raises:
        UsageError: a malformed pattern.
        EmptyTargetError: a pattern that names no server, or nothing is left.
    """
    evaluator = _Evaluator(inventory, allow_empty)
    chosen = evaluator.evaluate(*limits) if limits else set(range(len(inventory.servers)))
    for exclude in excludes:
        chosen -= evaluator.evaluate(exclude, excluding=True)
    if not chosen and not allow_empty:
        raise evaluator.nothing_left(limits, excludes)
    return tuple(inventory.servers[index] for index in sorted(chosen))


class _Term(NamedTuple):
    """One part of a pattern: `` (union), `!` or `&`, and what it names."""

    sign: str
    text: str


def split(pattern: str) -> list[str]:
    """The parts of a pattern between its `:` and `,`, blanks around them removed.

    No separator inside `[...]` counts, inside a regular expression none in `(...)` or `{...}` either, and an IPv6
    address is one part where commas, not colons, stand around it.

    Raises:
        UsageError: the pattern is empty, too long, has nothing between two separators, or an open bracket.
    """
    if len(pattern) > MAX_PATTERN:
        raise UsageError(f"a pattern has more than {MAX_PATTERN} characters, which is fleet's security limit")
    if not pattern.strip():
        raise UsageError("the pattern is empty", hint="name servers or groups, or use --all")
    if _PLAIN.fullmatch(pattern):
        return [pattern]
    parts: list[str] = []
    for between_commas in _cut(pattern, ","):
        address = between_commas.strip().lstrip("!&") if ":" in between_commas else ""
        parts.extend([between_commas] if is_ipv6(address) else _cut(between_commas, ":"))
    return [part.strip() for part in parts]


def _cut(pattern: str, separator: str) -> Iterable[str]:
    if "[" not in pattern and "~" not in pattern:  # each separator parts two, and a list of names may be long
        parts = pattern.split(separator)
        if all(map(_names_something, parts)):
            return parts
    return _scan(pattern, separator)


def _scan(pattern: str, separator: str) -> Iterator[str]:
    """The parts, and what is wrong with the pattern, if anything is."""
    start = 0
    scan = _Scan()
    for index, character in enumerate(pattern):
        if scan.outside(character) and character in ":,":
            scan = _Scan()  # a regular expression begins behind either sign, and only in one do {...} and (...) count
            if character == separator:
                yield _part(pattern, start, index)
                start = index + 1
    if scan.open_bracket and not scan.regex:
        raise UsageError(f"pattern {quote(pattern)} has a [ without its ]", hint=_RANGE_HINT)
    yield _part(pattern, start, len(pattern))


def _part(pattern: str, start: int, end: int) -> str:
    part = pattern[start:end]
    if not _names_something(part):
        raise UsageError(
            f"pattern {quote(pattern)} has nothing to name at character {start + 1}",
            hint="name a server or group there, or remove the sign",
        )
    return part


def _names_something(part: str) -> bool:
    return bool(part.strip().lstrip("!&"))


class _Scan:
    """Where one part of a pattern stands while it is read: in brackets, in a regex, behind a backslash."""

    def __init__(self) -> None:
        self.regex = False
        self.open_bracket = False
        self._begun = False
        self._escaped = False
        self._depth = 0

    def outside(self, character: str) -> bool:
        """Takes the next character; True where it stands outside of all brackets."""
        if not self._begun and character not in "!& ":
            self._begun = True
            self.regex = character == "~"
        if self._escaped:
            self._escaped = False
            return False
        if self.regex and character == "\\":
            self._escaped = True
        elif self.open_bracket:
            self.open_bracket = character != "]"
            return False
        elif character == "[":
            self.open_bracket = True
        elif self.regex and character in "({":
            self._depth += 1
        elif self.regex and character in ")}":
            self._depth -= 1
        return not self.open_bracket and self._depth <= 0


_RANGE_HINT = "a range is written vpn[01:09] or vpn-[01-09], a number of a group eu[0], eu[-1] or eu[0:2]"
_SHOW_HINT = "fleet inventory list shows all"


class _Evaluator:
    """Answers patterns with sets of indexes into the inventory's servers. Built once per selection."""

    def __init__(self, inventory: Inventory, allow_empty: bool) -> None:
        self._inventory = inventory
        self._allow_empty = allow_empty
        self._by_name = {server.name: index for index, server in enumerate(inventory.servers)}
        self._by_host: dict[str, list[int]] = {}
        for index, server in enumerate(inventory.servers):
            self._by_host.setdefault(server.host, []).append(index)
        for host in inventory.jump_hosts:
            self._by_host[host] = []
        self._by_group: dict[str, list[int]] = {}  # as far as anybody asked
        self._all_names: list[tuple[str, Collection[int]]] | None = None  # the same

    def evaluate(self, *patterns: str, excluding: bool = False) -> set[int]:
        """The servers of one pattern, or of several that are read as one.

        Args:
            patterns: as the user wrote them.
            excluding: whether their servers will be taken away from the target.
        """
        return self._combine([part for pattern in patterns for part in split(pattern)], excluding=excluding)

    def _combine(self, parts: list[str], *, excluding: bool, file: str | None = None) -> set[int]:
        """The servers of all parts together: unions first, then intersections, then exclusions."""
        terms, starts_from_all = self._terms(parts, file)
        chosen = set(range(len(self._inventory.servers))) if starts_from_all else set()
        for term in terms:
            if not term.sign:
                chosen.update(self._term(term, excluding=excluding))
        for term in terms:
            if term.sign == "&":
                chosen.intersection_update(self._term(term, excluding=excluding))
        for term in terms:
            if term.sign == "!":
                chosen.difference_update(self._term(term, excluding=not excluding))
        return chosen

    def _terms(self, parts: list[str], file: str | None = None) -> tuple[list[_Term], bool]:
        """The terms of a pattern, those of its @files in their place, and whether it starts from all servers.

        Args:
            parts: from `split`.
            file: the @file whose lines they are; no @file stands in it.
        """
        terms: list[_Term] = []
        starts_from_all = bool(parts)
        for part in parts:
            sign = part[0] if part[0] in "!&" else ""
            text = part[1:].strip() if sign else part
            is_file = text.startswith("@")
            if is_file and file is not None:
                raise UsageError(f"{file} names another file: {quote(text)}", hint="write its lines into one file")
            if sign or not is_file:
                terms.append(_Term(sign, text))
            else:
                of_file, _ = self._terms(_file_parts(text), text)
                terms.extend(of_file)
                starts_from_all = starts_from_all and bool(of_file)  # an empty file names nothing, never everything
        return terms, starts_from_all and all(term.sign for term in terms)

    def _term(self, term: _Term, *, excluding: bool) -> Collection[int]:
        """The servers of one term, or the error that says why there are none."""
        if term.text.startswith("@"):
            return self._combine(_file_parts(term.text), excluding=excluding, file=term.text)
        if term.text.startswith("~"):
            return self._found(self._matching(_compile(term.text).match), term, known=True, excluding=excluding)
        exact = self._exact(term.text)
        if exact is not None:
            return self._found(exact, term, known=True, excluding=excluding)
        if "[" in term.text or "]" in term.text:
            return self._found(self._bracketed(term.text), term, known=False, excluding=excluding)
        if "*" in term.text or "?" in term.text:
            return self._found(self._glob(term.text), term, known=True, excluding=excluding)
        return self._found((), term, known=False, excluding=excluding)

    def _found(self, indexes: Collection[int], term: _Term, *, known: bool, excluding: bool) -> Collection[int]:
        """The indexes, where there are any or none is acceptable.

        Args:
            indexes: what the term names.
            term: the term.
            known: whether it is no plain name, or one that exists.
            excluding: whether its servers are taken away: a group without servers takes none, a slip would take none
                either and leave in the target what was to be spared.
        """
        there = excluding and (term.text in self._inventory.groups or term.text in self._by_host)
        if indexes or there or (self._allow_empty and (known or not excluding)):
            return indexes
        raise self._nothing(term.text)

    def _nothing(self, text: str) -> EmptyTargetError:
        if text in self._inventory.groups:
            return EmptyTargetError(f"group {text} in {self._inventory.source} has no servers", hint=_SHOW_HINT)
        if text in self._by_host:
            return EmptyTargetError(
                f"host {text} in {self._inventory.source} is no OpenVPN server: it has no management", hint=_SHOW_HINT
            )
        groups = [name for name in self._inventory.groups if name != "ungrouped"]
        names = [*groups, *self._by_host, *(name for name in self._by_name if "/" in name)]
        close = difflib.get_close_matches(text, names, n=1)
        hint = f"did you mean {close[0]}? {_SHOW_HINT}" if close else _SHOW_HINT
        return EmptyTargetError(f"no server or group matches {quote(text)} in {self._place()}", hint=hint)

    def _place(self) -> str:
        count = len(self._inventory.servers)
        return f"{self._inventory.source} ({count} server{'' if count == 1 else 's'})"

    def nothing_left(self, limits: Sequence[str], excludes: Sequence[str]) -> EmptyTargetError:
        """The error for a selection without a server whose patterns each name some."""
        if not self._inventory.servers:
            return EmptyTargetError(f"{self._inventory.source} has no servers", hint="add one, or try fleet demo")
        meant = ",".join(limits) or "all"
        without = f" without {quote(','.join(excludes))}" if excludes else ""
        return EmptyTargetError(f"no server is in {quote(meant)}{without} in {self._place()}", hint=_SHOW_HINT)

    def _exact(self, name: str) -> Collection[int] | None:
        """The servers of a group, a host or a server of exactly that name; None where there is no such name."""
        if name == "*":
            return range(len(self._inventory.servers))
        if name in self._inventory.groups:
            return self._group(name)
        if name in self._by_host:
            return self._by_host[name]
        index = self._by_name.get(name)
        return None if index is None else (index,)

    def _matching(self, matches: Callable[[str], object]) -> set[int]:
        """The servers whose own name, host or group a predicate accepts."""
        if self._all_names is None:
            self._all_names = list(self._names())
        return {index for name, indexes in self._all_names if matches(name) for index in indexes}

    def _names(self) -> Iterator[tuple[str, Collection[int]]]:
        """Every name of a group, a host or a server, with the servers that it stands for."""
        for name in self._inventory.groups:
            yield name, self._group(name)
        yield from self._by_host.items()
        for index, server in enumerate(self._inventory.servers):
            if server.name != server.host:
                yield server.name, (index,)

    def _group(self, name: str) -> list[int]:
        """The servers of a group that there is, in inventory order."""
        indexes = self._by_group.get(name)
        if indexes is None:
            indexes = [self._by_name[server] for server in self._inventory.groups[name].servers]
            self._by_group[name] = indexes
        return indexes

    def _glob(self, text: str) -> set[int]:
        return self._matching(re.compile(fnmatch.translate(text)).match)

    def _bracketed(self, text: str) -> Collection[int]:
        subscript = _SUBSCRIPT.fullmatch(text)
        if subscript is not None:
            numbered = self._numbered(text, subscript)
            if numbered is not None:
                return numbered
        return self._ranges(text)

    def _numbered(self, text: str, subscript: re.Match[str]) -> Collection[int] | None:
        """`eu[0]`, `eu[0:2]`; None where the brackets are a range of names."""
        base = subscript["base"]
        is_group = base in self._inventory.groups
        if not is_group and not ("*" in base or "?" in base):
            if (subscript["index"] or "").startswith("-") or subscript["end"] == "":
                raise UsageError(f"pattern {quote(text)} wants a group or a glob before its [", hint=_RANGE_HINT)
            return None
        numbers = subscript["index"] or subscript["start"]
        if len(numbers) > 1 and numbers[0] == "0":
            return None  # [01:09] is never a number of a group
        if is_group and self._names_too(text):
            raise UsageError(
                f"pattern {quote(text)} may mean names or numbers of group {base}",
                hint=f"for the names write {text.replace(':', '-') if ':' in text else base + numbers}; "
                "fleet inventory list shows the names of the group's servers",
            )
        members = sorted(self._bracketed(base) if "[" in base else self._exact(base) or self._glob(base))
        return _sliced(members, subscript)

    def _names_too(self, text: str) -> bool:
        try:
            return bool(self._ranges(text))
        except UsageError:
            return False

    def _ranges(self, text: str) -> Collection[int]:
        """Brackets that stand for names: ranges are expanded, `[abc]` is a glob's choice of one character."""
        literals, contents = _BRACKETS.split(text)[::2], _BRACKETS.split(text)[1::2]
        if any("[" in literal or "]" in literal for literal in literals):
            raise UsageError(f"pattern {quote(text)} has a bracket without its other half", hint=_RANGE_HINT)
        pieces = [_piece(text, content) for content in contents]
        ranges = [piece for piece in pieces if isinstance(piece, list)]
        if len(ranges) == len(pieces) and not any("*" in literal or "?" in literal for literal in literals):
            return self._product(text, literals, ranges)
        expression = [_glob_to_regex(literals[0])]
        for piece, literal in zip(pieces, literals[1:], strict=True):
            expression += [piece if isinstance(piece, str) else _choice(piece), _glob_to_regex(literal)]
        return self._matching(re.compile("".join(expression), re.DOTALL).fullmatch)

    def _product(self, text: str, literals: list[str], ranges: list[list[str]]) -> set[int]:
        try:
            count_product([len(names) for names in ranges])
        except ValueError as error:
            raise UsageError(f"range in pattern {quote(text)}: {error}", hint=_RANGE_HINT) from None
        found: set[int] = set()
        pieces = [literals[:1]]
        for names, literal in zip(ranges, literals[1:], strict=True):
            pieces += [names, [literal]]
        for name in map("".join, itertools.product(*pieces)):
            found.update(self._exact(name) or ())
        return found


def _sliced(members: list[int], subscript: re.Match[str]) -> list[int]:
    """Ansible's numbers: from 0, negative ones from the end, the end of a slice included."""
    if subscript["index"] is not None:
        index = int(subscript["index"])
        return members[index:][:1] if -len(members) <= index < len(members) else []
    end = int(subscript["end"]) + 1 if subscript["end"] else len(members)
    return members[int(subscript["start"]) : end]


def _piece(text: str, content: str) -> list[str] | str:
    """What one bracket stands for: the list of a range's values, or a regular expression for one character."""
    items = content.split(",")
    if all(_RANGE_ITEM.fullmatch(item) for item in items):
        try:
            return list(_values(items))
        except ValueError as error:
            raise UsageError(f"range in pattern {quote(text)}: {error}", hint=_RANGE_HINT) from None
    if ":" in content or not content or content in {"!", "-"} or re.fullmatch(r"-[0-9]+|[0-9]+-|,.*|.*,", content):
        raise UsageError(f"pattern {quote(text)} has a malformed range: [{escaped(content)}]", hint=_RANGE_HINT)
    return _glob_to_regex(f"[{content}]")


def _values(items: Iterable[str]) -> Iterator[str]:
    total = 0
    for item in items:
        values = [item] if item.isdecimal() else expand_range(item, separators=":-")
        total += len(values)
        if total > MAX_RANGE:
            raise ValueError(f"it stands for more than {MAX_RANGE} names, which is fleet's security limit")
        yield from values


def _choice(values: list[str]) -> str:
    return f"(?:{'|'.join(re.escape(value) for value in values)})"


def _glob_to_regex(text: str) -> str:
    """A glob as part of a regular expression."""
    translated = fnmatch.translate(text)  # (?s:...)\Z
    return translated[: translated.rindex(")") + 1]


def _compile(text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a future Python that may read `[[` in another way
            return re.compile(text[1:])
    except (re.error, RecursionError, OverflowError) as error:
        place = f" at character {error.pos + 1}" if isinstance(error, re.error) and error.pos is not None else ""
        what = escaped(error.msg) if isinstance(error, re.error) else "too complex"
        raise UsageError(
            f"regular expression {quote(text[1:])} is malformed{place}: {what}",
            hint="Python's syntax; a name without ~ in front needs none",
        ) from None


def _file_parts(text: str) -> list[str]:
    """The parts of the patterns in an @file.

    Raises:
        UsageError: it cannot be read.
    """
    name = text[1:]
    try:
        with Path(name).expanduser().open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"pattern file {quote(name)} cannot be read: {reason}", hint="@FILE names a text file"
        ) from None
    if len(data) > MAX_FILE:
        raise UsageError(f"pattern file {quote(name)} has more than {MAX_FILE} bytes, which is fleet's security limit")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"pattern file {quote(name)} is not UTF-8", hint="@FILE names a text file") from None
    return [part for line in map(str.strip, lines) if line and line[0] != "#" for part in split(line)]
