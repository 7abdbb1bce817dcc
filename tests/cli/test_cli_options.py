"""Common options before and behind the command's name and in the environment; targets; what is refused."""

from __future__ import annotations

import json

import pytest

from cli.harness import Fleet, daemon, small_farm
from fleet.demo.farm import Farm

FIVE = """\
all:
  vars: {management: "127.0.0.1:7505", connection: local}
  children:
    eu: {hosts: {"vpn[01:03]": {}}}
    us: {hosts: {a-1: {}, a-2: {exclusive: true}}}
"""


@pytest.fixture
def five(fleet: Fleet) -> Fleet:
    """fleet with an inventory of five servers, none of which is there."""
    fleet.inventory(FIVE)
    return fleet


def hosts(fleet: Fleet, *args: str) -> list[str]:
    result = fleet(*args, "--list-hosts")
    assert (result.status, result.err) == (0, "")
    return result.out.splitlines()


COMMANDS = ("status", "kill", "find", "inventory")
ALL = ["vpn01", "vpn02", "vpn03", "a-1", "a-2"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("status",), ALL),
        (("status", "--all"), ALL),
        (("status", "eu"), ALL[:3]),
        (("status", "-l", "eu"), ALL[:3]),
        (("-l", "eu", "status"), ALL[:3]),
        (("status", "us", "vpn02"), ["vpn02", "a-1", "a-2"]),
        (("status", "us", "-l", "vpn02"), ["vpn02", "a-1", "a-2"]),
        (("-l", "eu", "status", "us"), ALL[3:]),  # behind the name over before it
        (("-l", "eu", "status", "-l", "us"), ALL[3:]),
        (("status", "-l", "eu", "-l", "a-1"), ALL[:4]),
        (("status", "eu:!vpn01"), ALL[1:3]),
        (("status", "all:&us"), ALL[3:]),
        (("status", "~a-."), ALL[3:]),
        (("status", "vpn0[2-3]"), ALL[1:3]),
        (("status", "eu[0]"), ["vpn01"]),
        (("status", "-x", "eu"), ALL[3:]),
        (("-x", "eu", "status", "-x", "a-2"), ALL[:4]),
        (("status", "eu", "-x", "vpn01", "-x", "vpn03"), ["vpn02"]),
        (("kill", "x"), ALL),
        (("log",), ALL),
        (("verb",), ALL),
        (("verb", "4", "--all"), ALL),
        (("verb", "4", "-l", "eu"), ALL[:3]),
        (("signal", "SIGTERM", "--all", "-x", "us"), ALL[:3]),
        (("status", "eu", "-x", "eu", "--allow-empty"), []),
    ],
)
def test_who_is_meant(five: Fleet, args: tuple[str, ...], expected: list[str]) -> None:
    assert hosts(five, *args) == expected


def test_a_file_of_names(five: Fleet) -> None:
    (five.folder / "names").write_text("# these\nvpn03\na-1\n")
    assert hosts(five, "status", "@names") == ["vpn03", "a-1"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("status", "nope"), "empty-target", "no server or group matches 'nope' in "),
        (("status", "vpn0"), "empty-target", "no server or group matches 'vpn0' in "),
        (("status", "-l", ""), "usage", ""),
        (("status", "eu", "-x", "eu"), "empty-target", ""),
        (("status", "vpn[01:"), "usage", ""),
        (("status", "@missing"), "usage", ""),
        (("kill", "x", "-l", "nope"), "empty-target", ""),
    ],
)
def test_targets_that_are_refused(five: Fleet, args: tuple[str, ...], code: str, message: str) -> None:
    result = five(*args, "--json")
    assert result.status == 2
    assert result.document["error"]["code"] == code
    assert result.document["error"]["message"].startswith(message)
    assert result.document["servers"] == []


def test_variables_of_the_environment(five: Fleet) -> None:
    five.set("FLEET_LIMIT", "vpn01 us")
    assert hosts(five, "status") == ["vpn01", "a-1", "a-2"]
    assert hosts(five, "status", "eu") == ALL[:3]
    assert hosts(five, "-l", "eu", "status") == ALL[:3]
    five.set("FLEET_EXCLUDE", "a-1")
    assert hosts(five, "status") == ["vpn01", "a-2"]
    five.set("FLEET_LIST_HOSTS", "1")
    assert five("verb", "4", "-l", "eu").out == "vpn01\nvpn02\nvpn03\n"


def test_empty_variables_are_none(five: Fleet) -> None:
    for name in ("LIMIT", "OUTPUT", "TIMEOUT", "JSON", "FORKS", "READONLY", "VERBOSE"):
        five.set(f"FLEET_{name}", "")
    assert hosts(five, "status") == ALL


def test_a_variable_that_means_nothing(five: Fleet) -> None:
    five.set("FLEET_FORKS", "many")
    result = five("status")
    assert result.status == 2
    assert "--forks" in result.err
    five.unset("FLEET_FORKS")
    five.set("FLEET_TIMEOUT", "soon")
    result = five("status")
    assert result.status == 2
    assert "'soon' is not a duration: write 500ms, 5s, 2m, 1h, or a plain number of seconds" in result.err


# formats


@pytest.mark.parametrize(
    ("environment", "args", "form"),
    [
        ({}, ("inventory", "list"), "table"),
        ({}, ("inventory", "list", "--json"), "json"),
        ({}, ("--json", "inventory", "list"), "json"),
        ({}, ("inventory", "--json", "list"), "json"),
        ({}, ("inventory", "-o", "table", "list", "-o", "json"), "json"),
        ({}, ("-o", "json", "inventory", "list", "-o", "table"), "table"),
        ({}, ("-o", "table", "inventory", "list", "--json"), "json"),
        ({"FLEET_OUTPUT": "json"}, ("inventory", "list"), "json"),
        ({"FLEET_OUTPUT": "json"}, ("-o", "table", "inventory", "list"), "table"),
        ({"FLEET_OUTPUT": "json"}, ("inventory", "list", "-o", "table"), "table"),
        ({"FLEET_OUTPUT": "raw"}, ("inventory", "list", "--json"), "json"),
        ({"FLEET_JSON": "1"}, ("inventory", "list"), "json"),
        ({"FLEET_JSON": "1"}, ("inventory", "list", "-o", "table"), "table"),
        ({"FLEET_JSON": "0"}, ("inventory", "list"), "table"),
    ],
)
def test_the_format_that_is_nearest_to_the_command_wins(
    five: Fleet, environment: dict[str, str], args: tuple[str, ...], form: str
) -> None:
    for name, value in environment.items():
        five.set(name, value)
    result = five(*args)
    assert result.status == 0
    assert result.out.startswith("{" if form == "json" else "SERVER ")


@pytest.mark.parametrize("form", ["raw", "ndjson", "table", "wide"])
def test_formats_that_contradict_each_other(five: Fleet, form: str) -> None:
    for args in (("status", "--json", "-o", form), ("-o", form, "--json", "status"), ("status", "-o", form, "--json")):
        result = five(*args)
        assert result.status == 2
        assert result.document["error"]["message"] == f"--json and -o {form} contradict each other"
        assert result.err == f"--json and -o {form} contradict each other\n  give one of them\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("bogus",), "No such command 'bogus'.\n  fleet --help shows the commands\n"),
        (("status", "--bogus"), "No such option: --bogus"),
        (("--bogus", "status"), "No such option: --bogus"),
        (("status", "-o", "xml"), "Invalid value for '-o' / '--output': "),
        (("status", "--forks", "0"), "Invalid value for '-f' / '--forks': "),
        (("status", "--forks", "x"), "Invalid value for '-f' / '--forks': "),
        (("status", "--timeout", "0"), "Invalid value for '--timeout': a duration is more than 0\n"),
        (("status", "--timeout", "-1"), "Invalid value for '--timeout': '-1' is not a duration: write 500ms, "),
        (("status", "--reply-timeout", "5 s"), "Invalid value for '--reply-timeout': '5 s' is not a duration: "),
        (("status", "--color", "pink"), "Invalid value for '--color': "),
        (("status", "-i"), "Option '-i' requires an argument."),
        (("inventory", "bogus"), "No such command 'bogus'.\n  fleet inventory --help shows what it takes\n"),
        (("inventory", "show"), "Missing argument 'SERVER'.\n  fleet inventory"),
        (("find",), "Missing argument 'WHO'.\n  fleet find --help shows what it takes\n"),
    ],
)
def test_a_command_line_that_cannot_be_read(five: Fleet, args: tuple[str, ...], message: str) -> None:
    result = five(*args)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(message), result.err
    assert "Value error" not in result.err
    for more in (("--json",), ("-ojson",)):
        document = five(*more, *args).document
        assert (document["exit_status"], document["servers"], document["error"]["code"]) == (2, [], "usage")
        assert document["command"].split()[:1] == [word for word in args if word in COMMANDS][:1]
    quiet = five("-q", *args)
    assert len(quiet.err.splitlines()) == 1


def test_every_way_to_ask_for_json(five: Fleet) -> None:
    for more in (("--json",), ("-o", "json"), ("-ojson",), ("--output=json",), ("--output", "json")):
        assert five(*more, "bogus").document["error"]["code"] == "usage"
        assert five("status", "--bogus", *more).document["command"] == "status"


def test_refusals_in_lines(five: Fleet) -> None:
    (line,) = five("status", "--bogus", "-o", "ndjson").lines
    assert (line["type"], line["exit_status"], line["error"]["code"]) == ("summary", 2, "usage")
    (line,) = five("status", "nope", "-o", "ndjson").lines
    assert (line["command"], line["args"], line["error"]["code"]) == ("status", ["nope"], "empty-target")
    five.set("FLEET_OUTPUT", "ndjson")
    assert five("bogus").lines[0]["error"]["code"] == "usage"
    five.unset("FLEET_OUTPUT")
    five.set("FLEET_JSON", "1")
    assert five("bogus").document["error"]["code"] == "usage"


def test_a_refused_document_has_every_key(five: Fleet) -> None:
    for args in (("status", "nope", "--json"), ("status", "--bogus", "--json")):
        document = five(*args).document
        assert list(document) == [
            "fleet_schema", "command", "args", "started", "elapsed", "exit_status", "summary", "servers", "error",
        ]  # fmt: skip
        assert set(document["error"]) == {"code", "message", "hint", "sent", "confirmed"}
        assert document["command"] == "status"


def test_no_command_is_a_question_for_help(fleet: Fleet) -> None:
    for args in ((), ("inventory",)):
        result = fleet(*args)
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith("Usage: fleet ")
        assert "Commands:" in result.err


@pytest.mark.parametrize("args", [("--json",), ("--json", "inventory"), ("inventory", "--json")])
def test_no_command_is_one_document_too(fleet: Fleet, args: tuple[str, ...]) -> None:
    result = fleet(*args)
    assert (result.status, result.document["exit_status"]) == (2, 2)
    assert result.document["error"]["code"] == "usage"
    assert "Usage: " not in result.err


def test_no_command_is_one_line_of_ndjson_too(fleet: Fleet) -> None:
    (line,) = fleet("-o", "ndjson", "inventory").lines
    assert (line["type"], line["command"], line["error"]["message"]) == (
        "summary",
        "inventory",
        "'inventory' wants a subcommand",
    )


def test_a_working_folder_that_was_deleted(five: Fleet) -> None:
    named = five.environment["FLEET_INVENTORY"]
    gone = five.folder / "gone"
    gone.mkdir()
    five.monkeypatch.chdir(gone)
    gone.rmdir()
    assert hosts(five, "status") == ALL
    for args in (("-i", "mine.yaml", "status"), ("status", "--ssh-config", "config", "-i", named)):
        result = five(*args)
        assert (result.status, result.out) == (2, "")
        assert "is relative to the working folder, and that was deleted" in result.err
    five.unset("FLEET_INVENTORY")
    result = five("status")
    assert (result.status, result.err.partition(";")[0]) == (2, "no inventory found")


def test_help_and_version(fleet: Fleet) -> None:
    result = fleet("--help")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("Usage: fleet ")
    for command in ("status", "kill", "inventory", "demo"):
        assert fleet(command, "--help").out.startswith(f"Usage: fleet {command} ")
    assert fleet("--version").out.startswith("fleet 0.")


# inventories and secrets


def test_no_inventory_says_where_was_looked(fleet: Fleet) -> None:
    result = fleet("status")
    assert result.status == 2
    for place in (f"{fleet.folder}/inventory.yaml", f"{fleet.folder}/home/.config/fleet/inventory.yaml", "/etc/fleet/"):
        assert place in result.err
    assert fleet("status", "--json").document["error"]["code"] == "inventory"


def test_an_inventory_that_is_named(fleet: Fleet) -> None:
    (fleet.folder / "other.yaml").write_text("all: {hosts: {one: {connection: local, management: /sock}}}")
    assert hosts(fleet, "-i", "other.yaml", "status") == ["one"]
    assert hosts(fleet, "status", "--inventory", "other.yaml") == ["one"]
    fleet.set("FLEET_INVENTORY", "missing.yaml")
    assert hosts(fleet, "-i", "other.yaml", "status") == ["one"]
    result = fleet("status")
    assert result.status == 2
    assert "missing.yaml" in result.err


def test_a_mistake_in_the_inventory(fleet: Fleet) -> None:
    fleet.inventory("all:\n  hosts:\n    edge-1: {managment: x}\n")
    result = fleet("status", "-q")
    assert result.status == 2
    (line,) = result.err.splitlines()
    assert "inventory.yaml:3:14: unknown variable 'managment'" in line
    assert "did you mean 'management'" in line


@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_password_file_that_others_may_read(fleet: Fleet, mode: int, refused: bool) -> None:
    fleet.start(small_farm())
    assert fleet.thread is not None
    secret = fleet.thread.workspace.folder / "gw.password"
    secret.chmod(mode)
    result = fleet("pid", "us")
    assert result.status == (2 if refused else 0)
    if refused:
        assert "gw.password" in result.err
        assert fleet.farm.hosts["gw"].connections == 0
        assert fleet("pid", "edge-1").status == 0  # who is not asked needs no secret


def test_an_ssh_config_that_is_not_there(fleet: Fleet) -> None:
    fleet.start(small_farm())
    result = fleet("pid", "--ssh-config", "missing", "--json")
    assert result.status == 2
    assert result.document["error"]["code"] == "usage"
    assert "missing" in result.err


# exclusive servers


def test_exclusive_servers_are_refused(five: Fleet) -> None:
    result = five("status")
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        "marked as exclusive in the inventory, since a management client does harm by being there: a-2\n"
        "  leave out with -x 'a-2', or ask all the same with --force\n"
    )
    assert five("status", "--json").document["error"]["code"] == "usage"


def test_exclusive_servers_are_asked_with_force(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm.add("edge-2", daemon())
    farm.add("edge-3", daemon())
    fleet.start(farm)
    assert fleet.thread is not None
    path = fleet.thread.workspace.inventory
    path.write_text(path.read_text().replace("ssh_port:", "exclusive: true\n      ssh_port:"))
    result = fleet("pid")
    assert result.status == 2
    assert result.err.splitlines()[0].endswith(": edge-[1-3]")
    assert "-x 'edge-[1-3]'" in result.err
    assert hosts(fleet, "pid", "-x", "edge-[1-2]") == ["edge-3"]
    assert fleet("pid", "--force").status == 0
    fleet.set("FLEET_FORCE", "1")
    assert fleet("pid", "edge-2").status == 0


# the document, once


def test_one_document_whatever_is_said_beside_it(fleet: Fleet) -> None:
    farm = small_farm()
    farm.add("held", daemon(hold=True))
    farm.add("closed", daemon())
    farm["closed"].closed = True
    fleet.start(farm)
    result = fleet("clients", "--json", "-v")
    document = json.loads(result.out)
    assert list(document) == [
        "fleet_schema", "command", "args", "started", "elapsed", "exit_status", "summary", "servers", "error",
    ]  # fmt: skip
    assert document["summary"] == {"servers": 5, "ok": 4, "failed": 0, "unreachable": 1, "not_attempted": 0}
    assert all(list(one) == ["name", "status", "elapsed", "result", "error", "warnings"] for one in document["servers"])
    assert {one["name"] for one in document["servers"]} == {"edge-1", "gw/udp", "gw/tcp", "held", "closed"}
    assert document["exit_status"] == result.status == 4
    assert "warning: held: " in result.err
    assert "management-closed: closed: " in result.err
