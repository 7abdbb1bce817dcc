"""What each of fleet's variables takes: one small parser per form. A refusal says what is allowed."""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from fleet.inventory.model import ManagementEndpoint, PasswordCommand, PasswordFile, TCPEndpoint, UnixEndpoint
from fleet.inventory.names import is_ipv6
from fleet.inventory.tree import Node, ScalarNode, SequenceNode, WrongValueError, describe

MAX_JUMPS = 16
"""Security limit: jump hosts one behind the other."""

MAX_PORT = 65535
MAX_SOCKET_PATH = 107  # sockaddr_un holds 108 bytes, the final NUL included
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_SHA256 = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_PIN_FORMS = "a host key pin is 'TYPE BASE64' as in known_hosts, or 'SHA256:...' as ssh-keygen -l prints it"
_JUMP = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\[\]\s]+\]|[^:\[\]@/\s]+)(?::(?P<port>[0-9]+))?")
_ENDPOINT_FORMS = "'HOST:PORT', '[IPv6]:PORT' or the absolute path of a unix socket"


@dataclass(frozen=True, slots=True)
class JumpHop:
    """One `[user@]host[:port]` of a jump chain.

    Attributes:
        ssh_alone: only ssh knows the host: a host of the inventory of the same name is not meant.
    """

    host: str
    user: str | None
    port: int | None
    ssh_alone: bool = False

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user is not None else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{user}[{self.host}]{port}" if ":" in self.host and port else f"{user}{self.host}{port}"


def _wrong(node: Node, name: str, allowed: str, hint: str | None = None) -> WrongValueError:
    return WrongValueError(node.position, f"{name} must be {allowed}, not {describe(node)}", hint)


def _printable(node: Node, name: str, allowed: str) -> str:
    """Text on one line; JSON may write it as a number."""
    if isinstance(node, ScalarNode) and isinstance(node.value, str | int) and not isinstance(node.value, bool):
        text = str(node.value)
        if text.isprintable() and text == text.strip() and text:
            return text
    raise _wrong(node, name, allowed)


def word(node: Node, name: str, _folder: Path) -> str:
    """A text without blanks that is no option: a user's name."""
    text = _printable(node, name, "a word")
    if " " in text or text.startswith("-"):
        raise _wrong(node, name, "a word without blanks that does not begin with '-'")
    return text


def host(node: Node, name: str, folder: Path) -> str:
    """A host's name, address or ssh alias, without port."""
    text = word(node, name, folder)
    if is_ipv6(text):
        return text
    bad = next((c for c in text if c in ":[]/@"), None)
    if bad is not None:
        raise _wrong(node, name, "a host name or an address", "user and port go to ssh_user and ssh_port")
    return text


def _number(text: str) -> int | None:
    """A decimal number written in the one usual way, or None."""
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,8}", text) else None


def _integer(node: Node) -> int | None:
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return _number(node.value)
    if isinstance(node, ScalarNode) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return None


def port(node: Node, name: str, _folder: Path) -> int:
    """1 to 65535."""
    value = _integer(node)
    if value is None or not 1 <= value <= MAX_PORT:
        raise _wrong(node, name, f"a port number from 1 to {MAX_PORT}")
    return value


def count(node: Node, name: str, _folder: Path) -> int:
    """A number from 1."""
    value = _integer(node)
    if value is None or value < 1:
        raise _wrong(node, name, "a number from 1")
    return value


def integer(node: Node, name: str, _folder: Path) -> int:
    """A whole number, negative ones included."""
    text = str(node.value) if isinstance(node, ScalarNode) and isinstance(node.value, str) else ""
    value = _number(text.removeprefix("-")) if text else _integer(node)
    if value is None:
        raise _wrong(node, name, "a whole number")
    return -value if text.startswith("-") else value


def boolean(node: Node, name: str, _folder: Path) -> bool:
    """`true` or `false`; not YAML 1.1's yes, no, on and off."""
    if isinstance(node, ScalarNode):
        if isinstance(node.value, bool):
            return node.value
        if isinstance(node.value, str) and node.value in {"true", "True", "TRUE", "false", "False", "FALSE"}:
            return node.value.lower() == "true"
    raise _wrong(node, name, "true or false")


def connection(node: Node, name: str, _folder: Path) -> str:
    """`ssh` or `local`; Ansible's other names of SSH are SSH."""
    value = node.value if isinstance(node, ScalarNode) else None
    if value == "local" or value == "ssh":  # noqa: PLR1714 - mypy narrows this form to str
        return str(value)
    if name != "connection":
        if value in {"smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh"}:
            return "ssh"
        if value == "ansible.builtin.local":
            return "local"
    raise _wrong(node, name, "ssh or local", "set connection: ssh where fleet is to use SSH all the same")


def path(node: Node, name: str, folder: Path) -> Path:
    """A path: `~` is expanded, a relative one starts at the inventory's folder."""
    return _expanded(_printable(node, name, "a path"), node, name, folder)


def _expanded(text: str, node: Node, name: str, folder: Path) -> Path:
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise WrongValueError(
            node.position, f"{name}: {text.split('/', maxsplit=1)[0]} is no user's home folder"
        ) from None


def password_file(node: Node, name: str, folder: Path) -> PasswordFile:
    """The file with a management password."""
    return PasswordFile(path(node, name, folder))


def password_command(node: Node, name: str, folder: Path) -> PasswordCommand:
    """A program and its arguments: a list, or a text that is split as a shell splits, but no shell runs it.

    A program with a slash in it starts at the inventory's folder and its `~` is expanded. Arguments may be secret:
    no message shows them.
    """
    allowed = f"{name} must be a list of texts, or one text that is split as a shell splits it"
    if isinstance(node, SequenceNode):
        argv = [item.value for item in node.items if isinstance(item, ScalarNode) and isinstance(item.value, str)]
        complete = len(argv) == len(node.items)
    elif isinstance(node, ScalarNode) and isinstance(node.value, str):
        try:
            argv, complete = shlex.split(node.value), True
        except ValueError:
            raise WrongValueError(node.position, f"{name} has a quote without its other half") from None
    else:
        raise WrongValueError(node.position, allowed)
    if not complete or not argv or not argv[0] or any("\0" in argument for argument in argv):
        raise WrongValueError(node.position, allowed)
    if "/" in argv[0]:
        argv[0] = str(_expanded(argv[0], node, name, folder))
    return PasswordCommand(tuple(argv))


def host_keys(node: Node, name: str, _folder: Path) -> tuple[str, ...]:
    """One pin or a list of pins; a comment behind a key is dropped."""
    items = node.items if isinstance(node, SequenceNode) else (node,)
    if not items:
        raise _wrong(node, name, "a pin or a list of pins, at least one", "host_keys: null asks known_hosts")
    return tuple(_pin(item, name) for item in items)


def _pin(node: Node, name: str) -> str:
    text = _printable(node, name, "a pin or a list of pins")
    if _SHA256.fullmatch(text):
        return text
    key_type, *rest = text.split()
    if key_type not in KEY_TYPES:
        problem = f"{describe(node)} is no host key pin"
        raise WrongValueError(node.position, problem, f"{_PIN_FORMS}; types: {', '.join(KEY_TYPES)}")
    encoded = rest[0] if rest else ""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii.Error is one, and so is the refusal of text that is not ASCII
        blob = b""
    if not blob.startswith(len(key_type).to_bytes(4, "big") + key_type.encode()):
        problem = f"the base64 text behind {key_type} is cut or belongs to another type"
        raise WrongValueError(node.position, problem, "copy a whole line of: ssh-keyscan -t " + _keyscan_type(key_type))
    return f"{key_type} {encoded}"


def _keyscan_type(key_type: str) -> str:
    kind = key_type.removeprefix("sk-").removeprefix("ssh-").split("-", maxsplit=1)[0]
    return f"{kind} HOST"


def jump(node: Node, name: str, _folder: Path) -> tuple[JumpHop, ...]:
    """`[user@]host[:port]`, or several with commas between, the nearest first, as `ssh -J` takes them."""
    text = _printable(node, name, "a jump host, or several with commas between")
    hops = [part.strip() for part in text.split(",")]
    if len(hops) > MAX_JUMPS:
        raise WrongValueError(node.position, f"{name} has more than {MAX_JUMPS} hosts, which is fleet's security limit")
    return tuple(_hop(hop, node, name) for hop in hops)


def _hop(text: str, node: Node, name: str) -> JumpHop:
    if text == "none":
        raise WrongValueError(node.position, f"{name} must be a jump host, not 'none'", f"write {name}: null")
    if is_ipv6(text):
        return JumpHop(text, None, None)
    match = _JUMP.fullmatch(text)
    number = int(match["port"]) if match and match["port"] and len(match["port"]) <= 5 else None  # noqa: PLR2004 - digits of 65535
    if match is None or text.startswith("-") or match["host"].startswith("-"):
        allowed = "must be an inventory host, [user@]host[:port], or several with commas between"
        raise WrongValueError(node.position, f"{name} {allowed}, not {describe(node)}")
    if match["port"] and (number is None or not 1 <= number <= MAX_PORT):
        raise WrongValueError(node.position, f"the port of {name} must be from 1 to {MAX_PORT}, not {match['port']}")
    host_name = match["host"]
    if host_name.startswith("["):
        host_name = host_name[1:-1]
        if not is_ipv6(host_name):
            raise WrongValueError(node.position, f"{name}: [{host_name}] is no IPv6 address")
    return JumpHop(host_name, match["user"], number)


def endpoint(node: Node, name: str, _folder: Path) -> ManagementEndpoint:
    """A management interface, as seen from the server's own host."""
    allowed = f"{_ENDPOINT_FORMS}, a mapping of daemons, or null"
    if name != "management":
        allowed = _ENDPOINT_FORMS
    text = _printable(node, name, allowed)
    if text.startswith("/"):
        if len(text.encode()) > MAX_SOCKET_PATH:
            raise WrongValueError(node.position, f"a unix socket's path has at most {MAX_SOCKET_PATH} bytes")
        return UnixEndpoint(text)
    match = re.fullmatch(r"(\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\s:/\[\]@-][^\s:/\[\]@]*)):(?P<port>[0-9]{1,5})", text)
    number = _number(match["port"]) if match else None
    if match is None or number is None or not 1 <= number <= MAX_PORT:
        raise _wrong(node, name, allowed, _endpoint_hint(text))
    if match["v6"] is not None:
        if not is_ipv6(match["v6"]):
            raise WrongValueError(node.position, f"{name}: [{match['v6']}] is no IPv6 address")
        return TCPEndpoint(match["v6"], number)
    return TCPEndpoint(match["host"], number)


def _endpoint_hint(text: str) -> str | None:
    if text == "null":
        return "in an INI inventory it is written None, as Python has it"
    words = text.split()
    if re.fullmatch(r"[0-9]{1,5}", text):
        return f"did you mean '127.0.0.1:{text}'?"
    if len(words) == 2 and words[1].isascii() and words[1].isdecimal():  # noqa: PLR2004 - host and port
        return f"OpenVPN's own file has a blank there; did you mean '{words[0]}:{words[1]}'?"
    if text.startswith(("unix:", "./", "~")) or "/" in text:
        return "a socket's path begins with /"
    if text.count(":") > 1:
        return "an IPv6 address stands in brackets: '[::1]:7505'"
    return "the port is from 1 to 65535"


def other_variables(node: Node, name: str, _folder: Path) -> tuple[str, ...]:
    """Names, perhaps with * and ?, of variables that are not meant for fleet."""
    items = node.items if isinstance(node, SequenceNode) else (node,)
    return tuple(_printable(item, name, "a list of variable names") for item in items)
