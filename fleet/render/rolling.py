"""What people see of a rolling change: the plan, a line for each server, and why it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleet.engine import Outcome
from fleet.operations.capacity import Shortage
from fleet.operations.gate import Recovered, Recovery, Restart
from fleet.operations.operation import Answer
from fleet.render import units
from fleet.render.fold import fold_counted, fold_names
from fleet.render.text import escape

_SPELLED_OUT = 4  # names of a batch; more of them are folded
_BATCHES_SHOWN = 20  # of a plan; who rolls through more of them wants to know how they begin


def plan_text(effect: str, batches: Sequence[Sequence[str]], clients: Mapping[str, int | None]) -> str:
    """The batches of a change, and how many clients each has.

        This restarts the tunnels of 4 servers and drops 545 clients:
          batch 1  edge-1         (214 clients)
          batch 2  edge-2 edge-3  (331)

    Args:
        effect: what the change does, in words.
        batches: the names of the servers of each.
        clients: of each server; None where that is not known.
    """
    shown = batches[:_BATCHES_SHOWN]
    names = [escape(" ".join(batch) if len(batch) <= _SPELLED_OUT else fold_names(batch)) for batch in shown]
    width = max(map(len, names), default=0)
    digits = len(str(len(shown)))
    lines = [f"This {effect}:"]
    for number, (batch, text) in enumerate(zip(shown, names, strict=True), start=1):
        lines.append(f"  batch {number:<{digits}}  {text:<{width}}  ({_clients(batch, clients, noun=number == 1)})")
    if len(batches) > len(shown):
        rest = [name for batch in batches[len(shown) :] for name in batch]
        more = len(batches) - len(shown)
        lines.append(f"  {more} more {'batch' if more == 1 else 'batches'} with {_clients(rest, clients, noun=True)}")
    return "\n".join(lines)


def _clients(batch: Iterable[str], clients: Mapping[str, int | None], *, noun: bool) -> str:
    known = [count for name in batch if (count := clients.get(name)) is not None]
    unknown = [name for name in batch if clients.get(name) is None]
    if not known:
        return "not known"
    total = sum(known)
    text = f"{total} {'client' if total == 1 else 'clients'}" if noun else str(total)
    return f"{text}, {escape(fold_names(unknown))} not known" if unknown else text


def server_line(head: str, outcome: Outcome[Answer[Any]], *, width: int, waited: float | None = None) -> str:
    """How one server fared, step by step.

    `batch 1/3  edge-1  sent  RECONNECTING  CONNECTED after 1.2 s  clients 171/214 after 34.0 s  ok`

    Args:
        head: which batch it is in, or as many blanks.
        outcome: of the server.
        width: of the longest name in the batch.
        waited: seconds that its clients were waited for, or None.
    """
    steps = [*_steps(outcome, waited), _end(outcome)]
    return "  ".join([head, f"{escape(outcome.server.name):<{width}}", *steps])


def _steps(outcome: Outcome[Answer[Any]], waited: float | None) -> list[str]:
    """What was seen of a restart, as far as it came."""
    answer = outcome.value or outcome.partial
    if answer is None or not isinstance(answer.value, Restart):
        return []
    restart = answer.value
    steps = ["sent"] if outcome.error is None or outcome.sent or outcome.confirmed else []
    if restart.connected_after is not None:
        steps += ["RECONNECTING", f"CONNECTED after {units.elapsed(restart.connected_after)}"]
    elif restart.state is not None:
        steps.append(escape(restart.state.name))
    if waited is not None:
        now = "?" if restart.clients is None else restart.clients
        steps.append(f"clients {now}/{restart.clients_before} after {units.elapsed(waited)}")
    return steps


def _end(outcome: Outcome[Answer[Any]]) -> str:
    return "ok" if outcome.error is None else escape(outcome.error.message)


def waiting_text(head: str, recovered: Recovered, percent: int) -> str:
    """What is waited for: `batch 1/3  clients 12/214, waiting for 80 %`."""
    return f"{head}  clients {recovered.back}/{recovered.dropped}, waiting for {percent} %"


def gate_text(recovered: Recovered, percent: int) -> str:
    """Why a batch is not through: `clients 120/214 after 90 s, wanted 80 %`."""
    took = units.elapsed(recovered.elapsed)
    told = f"clients {recovered.back}/{recovered.dropped} after {took}, wanted {percent} %"
    return "; ".join(filter(None, [told, _silent_text(recovered)]))


def clients_text(recovered: Recovered, recovery: Recovery) -> str:
    """What the servers' lines do not say of a batch's clients: where they are, and who was not to be asked."""
    own = sum(count or 0 for name, count in recovered.now.items() if name in recovery.batch)
    elsewhere = recovered.back - own
    told = f"{recovered.back} of {recovered.dropped} clients are back, {elsewhere} of them on other servers"
    return escape("; ".join(filter(None, [told if elsewhere > 0 else "", _silent_text(recovered)])))


def _silent_text(recovered: Recovered) -> str:
    return f"no answer from {fold_counted(recovered.silent)}" if recovered.silent else ""


def shortage_text(shortage: Shortage) -> str:
    """Why a batch is not begun."""
    unknown = f", and of {fold_counted(shortage.unknown)} nothing is known" if shortage.unknown else ""
    places = "place is" if shortage.free == 1 else "places are"
    clients = "1 client" if shortage.clients == 1 else f"{shortage.clients} clients"
    return (
        f"the rest of group {shortage.group} cannot take the {clients} of "
        f"{fold_counted(shortage.servers)}: {shortage.free} {places} free there{unknown}"
    )
