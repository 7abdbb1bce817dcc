"""Questions at a terminal: what is written behind one that was not answered begins a line of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support.tmux import Tmux

ASK = """
from fleet.cli.terminal import Terminal
try:
    print(f"typed {Terminal().METHOD('Your word: ')!r}")
except KeyboardInterrupt:
    print("broken off")
"""


@pytest.mark.parametrize("method", ["line", "secret"])
@pytest.mark.parametrize(
    ("keys", "said"),
    [(("C-c",), "broken off"), (("C-d",), "typed ''"), (("abc", "Enter"), "typed 'abc'")],
)
def test_the_end_of_a_question(tmp_path: Path, method: str, keys: tuple[str, ...], said: str) -> None:
    with Tmux(tmp_path) as screen:
        screen.run(
            [sys.executable, "-c", ASK.replace("METHOD", method)], {"PATH": os.environ["PATH"], "TERM": "screen"}
        )
        screen.wait_for("Your word: ")
        screen.type(*keys)
        assert screen.exit_status() == 0
        prompt, answer = screen.text.splitlines()[:2]
    assert prompt.startswith("Your word: ")
    assert ("abc" in prompt) == (method == "line" and "abc" in keys)
    assert answer == said
