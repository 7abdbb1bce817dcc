"""A passphrase or password on its way to a daemon: it can be sent, and shown nowhere."""

from __future__ import annotations

import re

from fleet.errors import UsageError
from fleet.management.commands import PARAMETER_LIMIT

CUT_AT = 127
"""Bytes of a secret that an OpenVPN built without PKCS11 keeps; it drops the rest in silence (protocol-facts 11.4)."""

_CONTROL = re.compile("[\x00-\x1f\x7f]")


class Secret:
    """A text that no repr, traceback, log or JSON shows. Two are equal where their texts are.

    Raises:
        UsageError: it cannot be sent as it is: it is empty, has a control character, which OpenVPN would drop in
            silence (protocol-facts 11.4), or is longer than 255 bytes. The error repeats none of it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str, what: str = "the secret") -> None:
        """Takes the text; `what` is how an error calls it."""
        # Whatever the locale made of the bytes that were typed, they are sent as they were.
        data = text.encode("utf-8", "surrogateescape")
        if not data:
            raise UsageError(f"{what} is empty")
        if _CONTROL.search(text):
            raise UsageError(
                f"{what} has a control character", hint="OpenVPN drops control characters, so it could never fit"
            )
        if len(data) > PARAMETER_LIMIT:
            raise UsageError(f"{what} is longer than the {PARAMETER_LIMIT} bytes that OpenVPN takes")
        self._text = data.decode("utf-8", "surrogateescape")

    @classmethod
    def of_bytes(cls, data: bytes, what: str) -> Secret:
        """The secret that a file or a command gave."""
        return cls(data.decode("utf-8", "surrogateescape"), what)

    def reveal(self) -> str:
        """The text, for the one place that writes it to a daemon."""
        return self._text

    @property
    def may_be_cut(self) -> bool:
        """Whether some builds of OpenVPN would keep only its beginning."""
        return len(self._text.encode("utf-8", "surrogateescape")) > CUT_AT

    def is_in(self, text: str) -> bool:
        """Whether a daemon's text may repeat the secret."""
        return self._text in text

    def __repr__(self) -> str:
        return "Secret([secret])"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
