"""Which group is inside which: depth, ancestors, and loops refused."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.inventory.records import GroupRecord, Records
from fleet.inventory.tree import Complaint, inventory_error

MAX_GROUP_DEPTH = 64
"""Security limit: groups inside each other."""

UNGROUPED = "ungrouped"


@dataclass(frozen=True, slots=True)
class Graph:
    """What the groups of an inventory say about each other and about hosts.

    Attributes:
        order: every group, in the order in which their variables are laid over each other: outer before inner, then
            by `ansible_group_priority`, then by name; the last one wins, as in Ansible.
        ancestors: for each group the groups it is inside, itself included.
        direct: for each host the groups that hold it directly.
    """

    order: dict[str, int]
    ancestors: dict[str, frozenset[str]]
    direct: dict[str, frozenset[str]]


def build_graph(records: Records) -> Graph:
    """Puts every group below `all` and every host without a group into `ungrouped`, as Ansible does.

    Raises:
        InventoryError: a group is inside itself, or groups are nested too deep.
    """
    _attach(records)
    parents: dict[str, list[str]] = {name: [] for name in records.groups}
    for group in records.groups.values():
        for child in group.children:
            parents[child].append(group.name)
    depth, ancestors = _descend(records, parents)
    priority = {group.name: group.priority for group in records.groups.values()}
    ranked = sorted(records.groups, key=lambda name: (depth[name], priority[name], name))
    return Graph({name: rank for rank, name in enumerate(ranked)}, ancestors, _direct_groups(records))


def _attach(records: Records) -> None:
    groups = records.groups
    held = _direct_groups(records)
    lonely = [host for host in records.hosts.values() if not held[host.name] - {"all", UNGROUPED}]
    if lonely or UNGROUPED in groups:
        record = groups.setdefault(UNGROUPED, GroupRecord(UNGROUPED, groups["all"].position))
        record.hosts = {host.name: None for host in lonely}
    children = {name for group in groups.values() for name in group.children}
    for name, group in groups.items():
        if name != "all" and name not in children:
            groups["all"].children[name] = group.position


def _direct_groups(records: Records) -> dict[str, frozenset[str]]:
    held: dict[str, set[str]] = {name: set() for name in records.hosts}
    for group in records.groups.values():
        for host in group.hosts:
            held[host].add(group.name)
    return {name: frozenset(groups) for name, groups in held.items()}


def _descend(records: Records, parents: dict[str, list[str]]) -> tuple[dict[str, int], dict[str, frozenset[str]]]:
    """Depth and ancestors of every group, parents first and without recursion."""
    waiting = {name: len(above) for name, above in parents.items()}
    ready = [name for name, count in waiting.items() if count == 0]
    depth: dict[str, int] = {}
    ancestors: dict[str, frozenset[str]] = {}
    for name in ready:  # grows while it is walked
        depth[name] = max((depth[parent] + 1 for parent in parents[name]), default=0)
        ancestors[name] = frozenset({name}).union(*(ancestors[parent] for parent in parents[name]))
        if depth[name] > MAX_GROUP_DEPTH:
            problem = f"more than {MAX_GROUP_DEPTH} groups inside each other, which is fleet's security limit"
            raise inventory_error(Complaint(records.groups[name].position, problem))
        for child in records.groups[name].children:
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if len(ready) < len(parents):
        raise inventory_error(_loop(records, {name for name in parents if name not in depth}, parents))
    return depth, ancestors


def _loop(records: Records, left: set[str], parents: dict[str, list[str]]) -> Complaint:
    """The complaint about one loop among the groups that have no top."""
    path = [min(left)]
    while path[-1] not in path[:-1]:
        path.append(min(parent for parent in parents[path[-1]] if parent in left))
    loop = path[path.index(path[-1]) :][::-1]
    start = loop.index(min(loop))
    loop = [*loop[start:-1], *loop[: start + 1]] if start < len(loop) - 1 else loop
    inner = records.groups[loop[-2]].children[loop[-1]]
    return Complaint(inner, f"group {loop[0]} is inside itself: {' > '.join(loop)}", "remove one of these children")
