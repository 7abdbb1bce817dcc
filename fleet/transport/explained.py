"""One part of how a server is reached; light to import, as those who only show it are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """One part of how a server is reached.

    Attributes:
        name: `user`, `address`, `port`, `private_key`, `jump` and so on.
        value: None is that there is none; a tuple where there may be several.
        origin: where it comes from: an option (`--user`), a place of the inventory (`inv.yaml:14:7`) or of ssh_config
            (`~/.ssh/config:3`), or `default`.
    """

    name: str
    value: str | int | float | tuple[str, ...] | None
    origin: str
