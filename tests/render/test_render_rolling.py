"""The plan of a rolling change, a line for each server, and why it stopped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fleet.engine import Outcome
from fleet.errors import CommandFailedError, ConnectRefusedError
from fleet.inventory.model import Server, TCPEndpoint
from fleet.management.replies import State
from fleet.operations.capacity import Shortage
from fleet.operations.gate import Recovered, Recovery, Restart
from fleet.operations.operation import Answer
from fleet.render.rolling import clients_text, gate_text, plan_text, server_line, shortage_text, waiting_text

SERVER = Server("edge-1", "edge-1", None, TCPEndpoint("127.0.0.1", 7505))
NOW = datetime(2026, 11, 22, 9, 14, 2, tzinfo=UTC)
BEFORE = State(NOW, "CONNECTED", "SUCCESS")
RECONNECTING = State(NOW, "RECONNECTING", "SIGUSR1")
SENT = Restart("SIGUSR1", BEFORE, 214)
UP = replace(SENT, state=BEFORE, connected_after=1.2)


def test_a_plan() -> None:
    plan = plan_text(
        "restarts the tunnels of 6 servers and drops 642 clients",
        [["edge-1"], ["edge-2", "edge-3", "edge-4"], ["gw/udp", "gw/tcp"]],
        {"edge-1": 214, "edge-2": 198, "edge-3": 100, "edge-4": 33, "gw/udp": 97, "gw/tcp": 0},
    )
    assert plan.splitlines() == [
        "This restarts the tunnels of 6 servers and drops 642 clients:",
        "  batch 1  edge-1                (214 clients)",
        "  batch 2  edge-2 edge-3 edge-4  (331)",
        "  batch 3  gw/udp gw/tcp         (97)",
    ]


def test_a_plan_of_which_not_all_is_known() -> None:
    plan = plan_text("changes 3 servers", [["edge-1"], ["edge-2", "edge-3"]], {"edge-1": None, "edge-2": 1})
    assert plan.splitlines()[1:] == [
        "  batch 1  edge-1         (not known)",
        "  batch 2  edge-2 edge-3  (1, edge-3 not known)",
    ]


def test_a_long_plan_is_cut_and_folded() -> None:
    names = [f"edge-{number}" for number in range(1, 131)]
    cut = [names[start : start + 5] for start in range(0, 130, 5)]
    lines = plan_text("changes 130 servers", cut, dict.fromkeys(names, 1)).splitlines()
    assert lines[1] == "  batch 1   edge-[1-5]     (5 clients)"
    assert lines[20] == "  batch 20  edge-[96-100]  (5)"
    assert lines[21:] == ["  6 more batches with 30 clients"]


@pytest.mark.parametrize(
    ("outcome", "waited", "text"),
    [
        (Outcome(SERVER, 1.3, Answer("anything", "")), None, "ok"),
        (Outcome(SERVER, 1.3, Answer(UP, "")), None, "sent  RECONNECTING  CONNECTED after 1.2 s  ok"),
        (
            Outcome(SERVER, 1.3, Answer(replace(UP, clients=171), "")),
            34.0,
            "sent  RECONNECTING  CONNECTED after 1.2 s  clients 171/214 after 34.0 s  ok",
        ),
        (
            Outcome(SERVER, 1.3, Answer(UP, "")),
            2.0,
            "sent  RECONNECTING  CONNECTED after 1.2 s  clients ?/214 after 2.0 s  ok",
        ),
        (Outcome(SERVER, 1.3, None, ConnectRefusedError("refused")), None, "refused"),
        (
            Outcome(SERVER, 1.3, None, CommandFailedError("in hold; nothing was sent"), partial=Answer(SENT, "")),
            None,
            "in hold; nothing was sent",
        ),
        (
            Outcome(
                SERVER,
                1.3,
                None,
                CommandFailedError("no CONNECTED within 90 s", sent="signal SIGUSR1"),
                partial=Answer(replace(SENT, state=RECONNECTING), ""),
            ),
            None,
            "sent  RECONNECTING  no CONNECTED within 90 s",
        ),
        (
            Outcome(
                SERVER,
                1.3,
                None,
                CommandFailedError("FATAL: \x1b[2J"),
                confirmed=("signal SIGUSR1",),
                partial=Answer(SENT, ""),
            ),
            None,
            r"sent  FATAL: \x1b[2J",
        ),
    ],
)
def test_a_server(outcome: Outcome[Answer[object]], waited: float | None, text: str) -> None:
    assert server_line("batch 1/3", outcome, width=8, waited=waited) == f"batch 1/3  edge-1    {text}"


RECOVERY = Recovery({"edge-1": 214, "edge-2": 50}, frozenset({"edge-1"}), 80)


def test_a_gate() -> None:
    recovered = Recovered(enough=False, back=120, dropped=214, elapsed=90.0, now={"edge-1": 120, "edge-2": 50})
    assert waiting_text("batch 1/3", recovered, 80) == "batch 1/3  clients 120/214, waiting for 80 %"
    assert gate_text(recovered, 80) == "clients 120/214 after 1m 30s, wanted 80 %"
    assert clients_text(recovered, RECOVERY) == ""
    recovered = replace(recovered, now={"edge-1": 20, "edge-2": None})
    assert gate_text(recovered, 80).endswith("; no answer from edge-2")
    assert clients_text(recovered, RECOVERY) == (
        "120 of 214 clients are back, 100 of them on other servers; no answer from edge-2"
    )


def test_a_shortage() -> None:
    assert shortage_text(Shortage("eu", ("edge-1", "edge-2"), 300, 1)) == (
        "the rest of group eu cannot take the 300 clients of edge-[1-2] (2): 1 place is free there"
    )
    assert shortage_text(Shortage("eu", ("edge-1",), 3, 0, ("sock",))).endswith(
        "the 3 clients of edge-1: 0 places are free there, and of sock nothing is known"
    )
