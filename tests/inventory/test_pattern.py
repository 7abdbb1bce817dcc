"""The pattern language: against plain sets, in its own examples, and in every refusal."""

from __future__ import annotations

import fnmatch
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import EmptyTargetError, UsageError
from fleet.inventory import pattern
from fleet.inventory.load import load
from fleet.inventory.model import Group, Inventory, Server, UnixEndpoint
from fleet.inventory.pattern import select

EXAMPLE = """
all:
  vars: {management: /s}
  hosts: {lone: }
  children:
    eu: {hosts: {edge-1: , edge-2: , edge-3: , edge-10: }}
    us: {hosts: {'vpn[01:03]': , gw: {management: {udp: /u, tcp: /t}}}}
    world: {children: {eu: , us: }}
    empty: {}
    six: {hosts: {'2001:db8::1': , '2001:db8::2': }}
    bastions: {hosts: {bastion: {management: null}}}
    canary: {hosts: {edge-1: , gw: }}
    box: {hosts: {box1: , box2: , edge-2: }}
"""
ALL = "lone edge-1 edge-2 edge-3 edge-10 vpn01 vpn02 vpn03 gw/udp gw/tcp 2001:db8::1 2001:db8::2 box1 box2"


@pytest.fixture
def inventory(folder: Path) -> Inventory:
    (folder / "inventory.yaml").write_text(EXAMPLE)
    return load("inventory.yaml")


def chosen(inventory: Inventory, *limits: str, exclude: tuple[str, ...] = (), allow_empty: bool = False) -> str:
    return " ".join(each.name for each in select(inventory, limits, exclude, allow_empty=allow_empty))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # names
        ("all", ALL),
        ("*", ALL),
        ("edge-1", "edge-1"),
        ("eu", "edge-1 edge-2 edge-3 edge-10"),
        ("gw", "gw/udp gw/tcp"),
        ("gw/tcp", "gw/tcp"),
        ("world", "edge-1 edge-2 edge-3 edge-10 vpn01 vpn02 vpn03 gw/udp gw/tcp"),
        ("ungrouped", "lone"),
        (" eu ", "edge-1 edge-2 edge-3 edge-10"),
        # globs
        ("edge-*", "edge-1 edge-2 edge-3 edge-10"),
        ("edge-?", "edge-1 edge-2 edge-3"),
        ("*/udp", "gw/udp"),
        ("gw/*", "gw/udp gw/tcp"),
        ("u?", "vpn01 vpn02 vpn03 gw/udp gw/tcp"),
        ("[ev]*0[!13]", "vpn02"),
        ("edge-[!1]", "edge-2 edge-3"),
        ("*[a-m]*e", "lone"),
        ("e[d]ge-[1-3]*", "edge-1 edge-2 edge-3 edge-10"),
        ("e[]d]ge-1", "edge-1"),
        # regular expressions
        ("~edge-[0-9]$", "edge-1 edge-2 edge-3"),
        ("~(edge|vpn0)-?[1,2]$", "edge-1 edge-2 vpn01 vpn02"),
        ("~edge-\\d{1,2}$:!edge-1", "edge-2 edge-3 edge-10"),
        ("~(?:gw/u|vpn01),lone", "lone vpn01 gw/udp"),
        ("~\\(|lone", "lone"),
        ("~[(:]|lone,~vpn\\d", "lone vpn01 vpn02 vpn03"),
        ("!~edge:&eu,edge-1", ""),
        # union, intersection, exclusion: in this order wherever they stand
        ("edge-1:edge-3", "edge-1 edge-3"),
        ("edge-3,edge-1", "edge-1 edge-3"),
        ("lone , edge-1: gw/udp", "lone edge-1 gw/udp"),
        ("eu:!canary", "edge-2 edge-3 edge-10"),
        ("!canary:eu", "edge-2 edge-3 edge-10"),
        ("eu:&canary", "edge-1"),
        ("&canary:eu,us", "edge-1 gw/udp gw/tcp"),
        ("world:&canary:!gw/tcp:lone", "edge-1 gw/udp"),
        ("!world", "lone 2001:db8::1 2001:db8::2 box1 box2"),
        ("&canary", "edge-1 gw/udp gw/tcp"),
        ("&world:!eu", "vpn01 vpn02 vpn03 gw/udp gw/tcp"),
        ("us:!empty", "vpn01 vpn02 vpn03 gw/udp gw/tcp"),
        ("us:!bastion", "vpn01 vpn02 vpn03 gw/udp gw/tcp"),
        # IPv6 addresses stand between commas
        ("2001:db8::1", "2001:db8::1"),
        ("lone,!2001:db8::1,six", "lone 2001:db8::2"),
        # ranges
        ("vpn[01:02]", "vpn01 vpn02"),
        ("vpn[01-09]", "vpn01 vpn02 vpn03"),
        ("edge-[1-3]", "edge-1 edge-2 edge-3"),
        ("edge-[1:10:3]", "edge-1 edge-10"),
        ("edge-[1,3,9-10]", "edge-1 edge-3 edge-10"),
        ("edge-[1:2],gw/[t-u]*", "edge-1 edge-2 gw/udp gw/tcp"),
        ("vpn[0:1][1:2]", "vpn01 vpn02"),
        ("[u-w]pn0[1:2]", "vpn01 vpn02"),
        ("vpn0[3]", "vpn03"),
        ("g[v-x:1]", "gw/udp gw/tcp"),
        ("*-[2-3]", "edge-2 edge-3"),
        # numbers of a group or a glob, the end included
        ("eu[0]", "edge-1"),
        ("eu[-1]", "edge-10"),
        ("eu[-4]", "edge-1"),
        ("eu[0:2]", "edge-1 edge-2 edge-3"),
        ("eu[2:]", "edge-3 edge-10"),
        ("eu[3:99]", "edge-10"),
        ("us[3:4]", "gw/udp gw/tcp"),
        ("edge-*[1]", "edge-2"),
        ("*[0:1]", "lone edge-1"),
        ("[ev]*[0:1]", "edge-1 edge-2"),
        ("eu[0]:eu[-1]", "edge-1 edge-10"),
        ("!eu[0]:eu", "edge-2 edge-3 edge-10"),
        ("box[0]", "edge-2"),
        ("box[1-2]", "box1 box2"),
        # a regular expression among others
        (r"lone:~edge-\d{1,1}$", "lone edge-1 edge-2 edge-3"),
        (r"eu:!~edge-\d{1,1}$", "edge-10"),
        (r"lone,!~vpn:~(?:edge-1$|vpn):lone", "lone edge-1"),
        (r"lone:~edge-[:1]$", "lone edge-1"),
        ("~[[e]dge-2", "edge-2"),
    ],
)
def test_patterns(inventory: Inventory, text: str, expected: str) -> None:
    if not expected:
        with pytest.raises(EmptyTargetError):
            select(inventory, [text])
    else:
        assert chosen(inventory, text) == expected


def test_repeated_limits_are_one_pattern_and_excludes_take_away(inventory: Inventory, folder: Path) -> None:
    (folder / "without").write_text("!edge-1\n")
    (folder / "nothing").write_text("# none\n")
    assert chosen(inventory) == ALL
    assert chosen(inventory, "eu", "!edge-1") == chosen(inventory, "!edge-1", "eu") == "edge-2 edge-3 edge-10"
    assert chosen(inventory, "eu", "@without") == "edge-2 edge-3 edge-10"
    assert chosen(inventory, "eu", "us", "&vpn*") == "vpn01 vpn02 vpn03"
    assert chosen(inventory, "!world", "!box") == "lone 2001:db8::1 2001:db8::2"
    assert chosen(inventory, "!edge-1", "@nothing", allow_empty=True) == ""
    assert chosen(inventory, "gw:!gw/tcp", "edge-1", "gw/udp") == "edge-1 gw/udp"
    assert chosen(inventory, "gw:!gw/tcp", "edge-1", "gw/tcp") == "edge-1 gw/udp"
    assert chosen(inventory, "eu", exclude=("edge-1", "edge-2,edge-3")) == "edge-10"
    assert chosen(inventory, exclude=("world", "six", "box")) == "lone"
    assert chosen(inventory, "us", exclude=("us:!gw",)) == "gw/udp gw/tcp"
    assert chosen(inventory, "us", exclude=("empty",)) == "vpn01 vpn02 vpn03 gw/udp gw/tcp"


# @file


def test_pattern_files(inventory: Inventory, folder: Path) -> None:
    (folder / "some").write_text("\ufeff# the first ones\n\n  edge-1  \n!edge-2\nus:lone\n", encoding="utf-8")
    (folder / "nothing").write_text("# none\n")
    (folder / "without").write_text("!world\n")
    assert chosen(inventory, "@some") == "lone edge-1 vpn01 vpn02 vpn03 gw/udp gw/tcp"
    assert chosen(inventory, "@some:edge-2,edge-3:!us") == "lone edge-1 edge-3"
    assert chosen(inventory, "eu:!@some") == "edge-2 edge-3 edge-10"
    assert chosen(inventory, "eu:&@some") == "edge-1"
    assert chosen(inventory, "eu:@nothing") == "edge-1 edge-2 edge-3 edge-10"
    assert chosen(inventory, "eu", exclude=("@some",)) == "edge-2 edge-3 edge-10"
    assert chosen(inventory, "eu", exclude=("@nothing",)) == "edge-1 edge-2 edge-3 edge-10"
    assert chosen(inventory, "eu:!@nothing") == "edge-1 edge-2 edge-3 edge-10"
    assert chosen(inventory, "@without") == "lone 2001:db8::1 2001:db8::2 box1 box2"


@pytest.mark.parametrize("text", ["@nothing", "@nothing:!edge-1", "eu:&@nothing", "!edge-1:@nothing:&eu"])
def test_an_empty_file_never_means_everything(inventory: Inventory, folder: Path, text: str) -> None:
    (folder / "nothing").write_text("\n# none\n")
    with pytest.raises(EmptyTargetError) as caught:
        select(inventory, [text])
    assert caught.value.message == f"no server is in '{text}' in inventory.yaml (14 servers)"
    assert select(inventory, [text], allow_empty=True) == ()


def test_pattern_files_that_cannot_be_used(inventory: Inventory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "again").write_text("edge-1:@some\n")
    (folder / "bytes").write_bytes(b"\xff\n")
    (folder / "bad").write_text("edge-1\nedge-[1\n")
    for text, message in (
        ("@missing", "pattern file 'missing' cannot be read: No such file or directory"),
        ("eu:!@missing", "pattern file 'missing' cannot be read: No such file or directory"),
        ("@~nosuchuser/x", "pattern file '~nosuchuser/x' cannot be read: Could not determine home directory."),
        ("@again", "@again names another file: '@some'"),
        ("!@again", "@again names another file: '@some'"),
        ("@bytes", "pattern file 'bytes' is not UTF-8"),
        ("@bad", "pattern 'edge-[1' has a [ without its ]"),
        ("@", "pattern file '' cannot be read: Is a directory"),
    ):
        refused(inventory, text, message)
    monkeypatch.setattr(pattern, "MAX_FILE", 5)
    refused(inventory, "@again", "pattern file 'again' has more than 5 bytes, which is fleet's security limit")


# Refusals


def refused(inventory: Inventory, text: str, message: str) -> str | None:
    with pytest.raises(UsageError) as caught:
        select(inventory, [text])
    assert caught.value.message == message
    return caught.value.hint


RANGE_HINT = "a range is written vpn[01:09] or vpn-[01-09], a number of a group eu[0], eu[-1] or eu[0:2]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edge-[1", "pattern 'edge-[1' has a [ without its ]"),
        ("eu:edge-[1,x", "pattern 'eu:edge-[1,x' has a [ without its ]"),
        ("edge-1]", "pattern 'edge-1]' has a bracket without its other half"),
        ("edge-[3:1]", "range in pattern 'edge-[3:1]': the range begins behind its end: 3 > 1"),
        (
            "vpn[01:9]",
            "range in pattern 'vpn[01:9]': both bounds have the same width where the first begins with 0: 01 and 9",
        ),
        ("vpn[01:03:0]", "range in pattern 'vpn[01:03:0]': the step of a range is a number from 1"),
        ("edge-[]", "pattern 'edge-[]' has a malformed range: []"),
        ("edge-[:3]", "pattern 'edge-[:3]' has a malformed range: [:3]"),
        ("edge-[1:x]", "pattern 'edge-[1:x]' has a malformed range: [1:x]"),
        ("edge-[1-]", "pattern 'edge-[1-]' has a malformed range: [1-]"),
        ("[:\t]", r"pattern '[:\t]' has a malformed range: [:\t]"),
        ("edge-[1,]", "pattern 'edge-[1,]' has a malformed range: [1,]"),
        ("edge[-1]", "pattern 'edge[-1]' wants a group or a glob before its ["),
        ("edge[1:]", "pattern 'edge[1:]' wants a group or a glob before its ["),
        ("eu[-2:]", "pattern 'eu[-2:]' has a malformed range: [-2:]"),
        (
            "edge-[1:999999]",
            "range in pattern 'edge-[1:999999]': it stands for more than 100000 names, which is fleet's security limit",
        ),
        (
            "e[1:999][1:999]",
            "range in pattern 'e[1:999][1:999]': it stands for more than 100000 names, which is fleet's security limit",
        ),
        (
            "[1:99999,1:99]",
            "range in pattern '[1:99999,1:99]': it stands for more than 100000 names, which is fleet's security limit",
        ),
    ],
)
def test_malformed_ranges(inventory: Inventory, text: str, message: str) -> None:
    assert refused(inventory, text, message) == RANGE_HINT


@pytest.mark.parametrize(("text", "instead"), [("box[1:2]", "box[1-2]"), ("box[1]", "box1")])
def test_what_may_mean_names_or_numbers_is_refused(inventory: Inventory, text: str, instead: str) -> None:
    hint = refused(inventory, text, f"pattern '{text}' may mean names or numbers of group box")
    assert hint == f"for the names write {instead}; fleet inventory list shows the names of the group's servers"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "the pattern is empty", "name servers or groups, or use --all"),
        (" \t", "the pattern is empty", "name servers or groups, or use --all"),
        ("eu,", "pattern 'eu,' has nothing to name at character 4", None),
        ("eu::us", "pattern 'eu::us' has nothing to name at character 4", None),
        ("2001:db8::*", "pattern '2001:db8::*' has nothing to name at character 10", None),
        ("eu:!", "pattern 'eu:!' has nothing to name at character 4", None),
        ("&,\x1b", "pattern '&,\\x1b' has nothing to name at character 1", None),
        (
            "~edge-(",
            "regular expression 'edge-(' is malformed at character 6: missing ), unterminated subpattern",
            "Python's syntax; a name without ~ in front needs none",
        ),
        (
            "~[z-\t]",
            r"regular expression '[z-\t]' is malformed at character 2: bad character range z-\t",
            "Python's syntax; a name without ~ in front needs none",
        ),
        ("~a{1,99999999999999999999}", None, "Python's syntax; a name without ~ in front needs none"),
        ("x" * 70_000, "a pattern has more than 65536 characters, which is fleet's security limit", None),
    ],
)
def test_other_malformed_patterns(inventory: Inventory, text: str, message: str | None, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        select(inventory, [text])
    assert message is None or caught.value.message == message
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("edge-9", "no server or group matches 'edge-9' in {}", "did you mean edge-3? "),
        ("gw/udq", "no server or group matches 'gw/udq' in {}", "did you mean gw/udp? "),
        ("!wrld", "no server or group matches 'wrld' in {}", "did you mean world? "),
        ("eu:&zzzz", "no server or group matches 'zzzz' in {}", ""),
        ("a" * 80, "no server or group matches '" + "a" * 57 + "...' in {}", ""),
        ("x-*", "no server or group matches 'x-*' in {}", ""),
        ("~x", "no server or group matches '~x' in {}", ""),
        ("x-[1:3]", "no server or group matches 'x-[1:3]' in {}", ""),
        ("eu[4]", "no server or group matches 'eu[4]' in {}", ""),
        ("eu[-5]", "no server or group matches 'eu[-5]' in {}", ""),
        ("eu[00]", "no server or group matches 'eu[00]' in {}", ""),
        ("empty[0]", "no server or group matches 'empty[0]' in {}", "did you mean empty? "),
        ("empty", "group empty in inventory.yaml has no servers", ""),
        ("bastion", "host bastion in inventory.yaml is no OpenVPN server: it has no management", ""),
        ("eu:&us", "no server is in 'eu:&us' in {}", ""),
    ],
)
def test_patterns_that_name_no_server(inventory: Inventory, text: str, message: str, hint: str) -> None:
    with pytest.raises(EmptyTargetError) as caught:
        select(inventory, [text])
    assert caught.value.message == message.format("inventory.yaml (14 servers)")
    if hint or "did you mean" not in (caught.value.hint or ""):
        assert caught.value.hint == f"{hint}fleet inventory list shows all"


def test_an_exclusion_that_leaves_nothing(inventory: Inventory) -> None:
    with pytest.raises(EmptyTargetError) as caught:
        select(inventory, ["edge-1", "edge-2"], ["eu", "us"])
    assert caught.value.message == "no server is in 'edge-1,edge-2' without 'eu,us' in inventory.yaml (14 servers)"


def test_allow_empty(inventory: Inventory) -> None:
    for text in ("edge-9", "x-*", "~x", "empty", "bastion", "eu:&us", "eu[9]", "&x:eu", "x-[1:2]"):
        assert chosen(inventory, text, allow_empty=True) == ""
    assert chosen(inventory, "edge-1:edge-9", allow_empty=True) == "edge-1"
    assert chosen(inventory, "edge-1:!x-*", allow_empty=True) == "edge-1"
    assert chosen(inventory, "edge-1", exclude=("x-*",), allow_empty=True) == "edge-1"
    for limit, exclude in (("all:!edge-9", ()), ("all", ("edge-9",)), ("all", ("x-[1:2]",)), ("all", ("us:edge-9",))):
        with pytest.raises(EmptyTargetError):
            select(inventory, [limit], exclude, allow_empty=True)


def test_an_inventory_without_servers() -> None:
    inventory = Inventory("inv", (), {"all": Group("all", (), (), ())})
    with pytest.raises(EmptyTargetError, match=r"^inv has no servers$"):
        select(inventory, [])
    assert select(inventory, [], allow_empty=True) == ()
    one = Inventory("inv", (Server("a", "a", None, UnixEndpoint("/s")),), {"all": Group("all", (), ("a",), ("a",))})
    with pytest.raises(EmptyTargetError, match=r"^no server or group matches 'zz' in inv \(1 server\)$"):
        select(one, ["zz"])


# Against plain sets

HOSTS = ["a1", "a2", "a3", "b1", "b2", "c"]
GROUP_NAMES = ["red", "blue", "void"]
Meaning = Callable[[str], bool]


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Inventory, dict[str, set[str]]]:
    """An inventory, and for each name of a group, host or server the set of server names that it stands for."""
    hosts = draw(st.permutations(HOSTS))
    daemons = {host: draw(st.sampled_from([[host], [f"{host}/x", f"{host}/y"]])) for host in hosts}
    members = {name: draw(st.sets(st.sampled_from(HOSTS))) for name in GROUP_NAMES[:2]} | {"void": set()}
    names = [server for host in hosts for server in daemons[host]]
    sets = {host: set(servers) for host, servers in daemons.items()}
    sets |= {name: {name} for name in names}
    sets |= {group: {s for host in held for s in daemons[host]} for group, held in members.items()}
    sets["all"] = set(names)
    servers = tuple(Server(s, host, None, UnixEndpoint("/s")) for host in hosts for s in daemons[host])
    groups = {
        name: Group(name, (), tuple(members.get(name, hosts)), tuple(s for s in names if s in sets[name]))
        for name in ("all", *GROUP_NAMES)
    }
    return Inventory("inv", servers, groups), sets


GLOBS = ["*", "a*", "?1", "*/x", "r*", "[ab]?", "*[!x]", "z*"]
REGEXES = ["~a", "~.*[12]$", "~(red|c)", "~b\\d/y", "~z{1,2}"]
RANGES = {"a[1:2]": ["a1", "a2"], "a[2-9]": ["a2", "a3"], "b[1,2]/x": ["b1/x", "b2/x"], "[a-c]1": ["a1", "b1"]}
SLICES = {"red[0]": (0, 1), "blue[1:2]": (1, 3), "all[1:]": (1, None), "red[-1]": (-1, None)}
TERMS = st.sampled_from([*HOSTS, *GROUP_NAMES, "a1/x", "c/y", "nobody", "all", *GLOBS, *REGEXES, *RANGES, *SLICES])


def meaning(term: str, inventory: Inventory, sets: dict[str, set[str]]) -> set[str]:
    """What a term stands for, said with plain sets."""
    order = [server.name for server in inventory.servers]
    if term in sets:
        return sets[term]
    if term in SLICES:
        begin, end = SLICES[term]
        members = [name for name in order if name in sets[term.partition("[")[0]]]
        return set(members[slice(begin, end)])
    if term in RANGES:
        return {name for each in RANGES[term] for name in sets.get(each, set())}
    accepts = re.compile(term[1:]).match if term[0] == "~" else re.compile(fnmatch.translate(term)).match
    return {name for each, held in sets.items() if accepts(each) for name in held}


@given(
    fleet=fleets(),
    terms=st.lists(st.tuples(st.sampled_from(["", "", "!", "&"]), TERMS), min_size=1, max_size=6),
    randomness=st.randoms(use_true_random=False),
)
def test_the_language_against_sets(
    fleet: tuple[Inventory, dict[str, set[str]]], terms: list[tuple[str, str]], randomness: random.Random
) -> None:
    inventory, sets = fleet
    text = terms[0][0] + terms[0][1] + "".join(randomness.choice([":", ",", " , "]) + s + t for s, t in terms[1:])
    meanings = [(sign, meaning(term, inventory, sets), term) for sign, term in terms]
    expected = set().union(*(held for sign, held, _ in meanings if not sign))
    if all(sign for sign, _, _ in meanings):
        expected = set(sets["all"])
    for sign, held, _ in meanings:
        if sign == "&":
            expected &= held
    for sign, held, _ in meanings:
        if sign == "!":
            expected -= held
    nobody = [term for sign, held, term in meanings if not held and not (sign == "!" and term in sets)]
    try:
        found = [server.name for server in select(inventory, [text])]
    except EmptyTargetError:
        assert nobody or not expected
    else:
        assert not nobody
        assert found == [server.name for server in inventory.servers if server.name in expected]


@given(text=st.text(st.sampled_from("ab1e*?[]!&~@:,-/(){}\\ \t\0é"), max_size=12) | st.text(max_size=12))
def test_any_pattern_selects_or_is_refused(text: str) -> None:
    servers = tuple(Server(name, name, None, UnixEndpoint("/s")) for name in ("a1", "b"))
    inventory = Inventory("inv", servers, {"all": Group("all", (), ("a1", "b"), ("a1", "b"))})
    try:
        found = select(inventory, [text])
    except (UsageError, EmptyTargetError) as error:
        assert error.message.isprintable()  # noqa: PT017 - either outcome is right
    else:
        assert set(found) <= set(servers)


def test_a_pattern_of_names_is_not_quadratic() -> None:
    """10,000 servers by 10,000 names: a scan per name would be 10^8 comparisons, and run into the test's timeout."""
    names = tuple(f"host-{number}" for number in range(10_000))
    servers = tuple(Server(name, name, None, UnixEndpoint("/s")) for name in names)
    inventory = Inventory("inv", servers, {"all": Group("all", (), names, names)})
    assert select(inventory, list(names)) == servers
    assert select(inventory, ["host-[0:9999]"]) == servers
