"""Files of settings and variables: which of them wins, what is refused, and whom fleet does not believe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.harness import Fleet, Result
from fleet.cli import settings

INVENTORY = (
    "all: {vars: {management: '127.0.0.1:7505'}}\neu:\n  hosts: {edge-1: {}, edge-2: {}}\nus:\n  hosts: {gw: {}}\n"
)


@pytest.fixture
def user(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, which a test writes; the system's is not this machine's."""
    monkeypatch.setattr(settings, "SYSTEM", tmp_path / "etc" / "config.yaml")
    (tmp_path / "etc").mkdir(mode=0o755)
    fleet.inventory(INVENTORY)
    path = tmp_path / "home" / ".config" / "fleet" / "config.yaml"
    path.parent.mkdir(parents=True, mode=0o700)
    return path


def shown(result: Result) -> dict[str, tuple[object, str]]:
    assert result.status == 0, result.err
    return {row["setting"]: (row["value"], row["origin"]) for row in result.document["settings"]}


def show(fleet: Fleet, *args: str) -> dict[str, tuple[object, str]]:
    return shown(fleet("config", "show", "-o", "json", *args))


def test_the_nearest_place_wins_and_is_told(fleet: Fleet, user: Path) -> None:
    settings.SYSTEM.write_text("forks: 1\nreply-timeout: 1s\nlimit: eu\ntimeout: 9s\n")
    user.write_text("forks: 2\nreply_timeout: 2s\n--limit: [gw, edge-1]\n")
    fleet.set("FLEET_FORKS", "3")
    fleet.set("FLEET_REPLY_TIMEOUT", "3s")
    found = show(fleet, "--forks", "4")
    assert found["forks"] == (4, "command line")
    assert found["reply-timeout"] == (3.0, "FLEET_REPLY_TIMEOUT")
    assert found["limit"] == (["gw", "edge-1"], f"{user}:3")
    assert found["timeout"] == (9.0, f"{settings.SYSTEM}:4")
    assert found["host-timeout"] == (30.0, "default")
    assert show(fleet, "--forks", "4") == shown(fleet("--forks", "4", "config", "show", "-o", "json"))


def test_what_a_file_says_holds(fleet: Fleet, user: Path) -> None:
    user.write_text("limit: eu\nexclude: edge-2\ncolumns: [server, groups]\noutput: csv\n")
    assert fleet("inventory", "list").out.splitlines() == ["server,groups", "edge-1,eu"]
    fleet.set("FLEET_OUTPUT", "name")
    assert fleet("inventory", "list", "--columns", "server").out == "edge-1\n"


def test_json_and_a_file_with_another_format_do_not_contradict_each_other(fleet: Fleet, user: Path) -> None:
    user.write_text("output: csv\n")
    fleet.set("FLEET_JSON", "1")
    assert "_meta" in json.loads(fleet("inventory", "list").out)


def test_an_error_is_shown_in_the_format_of_a_file(fleet: Fleet, user: Path) -> None:
    user.write_text("output: json\n")
    assert fleet("status", "--nonsense").document["error"]["code"] == "usage"


def test_readonly_in_a_file_refuses_a_change(fleet: Fleet, user: Path) -> None:
    user.write_text("readonly: yes\n")
    result = fleet("signal", "SIGUSR1", "--all")
    assert (result.status, result.out) == (2, "")
    assert "read-only" in result.err


def test_paths_are_relative_to_the_file(fleet: Fleet, user: Path) -> None:
    fleet.unset("FLEET_INVENTORY")
    (user.parent / "servers.yaml").write_text(INVENTORY)
    user.write_text("inventory: servers.yaml\n")
    assert fleet("inventory", "list", "-o", "name").out.split() == ["edge-1", "edge-2", "gw"]


def test_options_of_single_commands_have_variables_and_settings(fleet: Fleet, user: Path) -> None:
    user.write_text("format-version: 3\n")
    assert "add -o raw" in fleet("status").err
    user.write_text("")
    fleet.set("FLEET_FORMAT_VERSION", "2")
    assert "add -o raw" in fleet("status").err
    assert show(fleet)["format-version"] == ("2", "FLEET_FORMAT_VERSION")


def test_a_variable_never_says_whom_a_change_is_for(fleet: Fleet, user: Path) -> None:
    fleet.set("FLEET_USERNAME", "alice")
    fleet.set("FLEET_CID", "3")
    assert "username" not in show(fleet)
    user.write_text("cid: 3\n")
    assert (result := fleet("kill", "--all")).status == 2
    assert "'cid'" in result.err or "WHO" in result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("froks: 3\n", [":1:1: 'froks' is no setting", "did you mean 'forks'?"]),
        ("\nforks: many\n", [":2:1: 'forks': "]),
        ("reply-timeout: soon\n", [":1:1: 'reply-timeout': "]),
        ("forks: 0\n", [":1:1: 'forks': "]),
        ("output: pdf\n", [":1:1: 'output': "]),
        ("forks: 1\nforks: 2\n", [":2:1: "]),
        ("reply-timeout: 1\nreply_timeout: 2\n", [":2:1: 'reply-timeout' stands here twice"]),
        ("forks: {a: b}\n", [":1:8: 'forks' takes a text"]),
        ("- forks\n", [":1:1: settings are `option: value` lines"]),
        ("a: b: c\n", [":1:5: not YAML"]),
        ("config: other.yaml\n", [":1:1: 'config' is no setting"]),
        ("password: hunter2\n", [":1:1: 'password' is no setting"]),
        ("forks: \xff\n", ["cannot be read: it is not UTF-8"]),
    ],
)
def test_what_is_no_setting_is_refused_with_its_place(fleet: Fleet, user: Path, text: str, words: list[str]) -> None:
    user.write_bytes(text.encode("latin-1"))
    result = fleet("inventory", "list")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(str(user))
    assert all(word in result.err for word in words), result.err
    assert "hunter2" not in result.err


def test_help_and_version_do_not_need_the_files(fleet: Fleet, user: Path) -> None:
    user.write_text("froks: 3\n")
    assert fleet("--version").status == 0
    assert fleet("--help").status == 0


def test_a_named_file_takes_the_place_of_the_others(fleet: Fleet, user: Path, tmp_path: Path) -> None:
    user.write_text("forks: 2\n")
    named, other = tmp_path / "named.yaml", tmp_path / "other.yaml"
    named.write_text("timeout: 7s\n")
    other.write_text("timeout: 8s\n")
    fleet.set("FLEET_CONFIG", str(other))
    found = show(fleet, "--config", str(named))
    assert (found["forks"], found["timeout"]) == ((64, "default"), (7.0, f"{named}:1"))
    assert show(fleet)["timeout"] == (8.0, f"{other}:1")
    assert show(fleet, "--config=/dev/null")["timeout"] == (None, "default")
    missing = fleet("config", "show", "--config", str(tmp_path / "none.yaml"))
    assert (missing.status, "is not there" in missing.err) == (2, True)


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_a_file_that_others_can_write_is_ignored_with_a_warning(fleet: Fleet, user: Path, what: str, mode: int) -> None:
    user.write_text("forks: 2\n")
    path = user if what == "file" else user.parent
    path.chmod(0o700 | mode)
    result = fleet("config", "show", "-o", "json")
    assert shown(result)["forks"] == (64, "default")
    written = "it" if what == "file" else "its folder"
    assert f"warning: the settings of {user} are ignored: others can write {written} (mode" in result.err
    assert f"chmod go-w {path}" in result.err
    files = fleet("config", "path", "-o", "json").document["files"]
    assert files[1]["path"] == str(user)
    assert files[1]["state"].startswith("ignored: others can write")
    user.parent.chmod(0o1777)  # as /tmp: others cannot replace what is there
    user.chmod(0o600)
    assert show(fleet)["forks"] == (2, f"{user}:1")


def test_the_paths_are_told_weakest_first(fleet: Fleet, user: Path) -> None:
    user.write_text("forks: 2\n")
    lines = fleet("config", "path").out.splitlines()
    assert [line.split() for line in lines[1:]] == [[str(settings.SYSTEM), "not", "there"], [str(user), "read"]]
