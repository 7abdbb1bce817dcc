from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.operations.operation import PartText
from fleet.render.gather import gather, gather_lines, gather_text
from fleet.render.style import Style


def test_equal_answers_are_one_group_in_the_order_of_their_first() -> None:
    answers = [("edge-1", "b"), ("gw", "a"), ("edge-2", "b"), ("edge-10", "a")]
    assert gather(answers) == [(["edge-1", "edge-2"], "b"), (["gw", "edge-10"], "a")]


def test_one_line_stands_behind_the_names_and_several_below_them() -> None:
    answers = [(f"edge-{n}", ["verb=3"]) for n in range(1, 9)] + [("gw", ["a", "", "b"]), ("none", [])]
    assert gather_lines(answers) == ["edge-[1-8] (8): verb=3", "gw:", "  a", "", "  b", "none:"]


def test_lines_that_only_look_alike_stay_apart() -> None:
    assert gather_lines([("a", ["x", "y"]), ("b", ["x\ny"]), ("c", ["x "])]) == ["a:", "  x", "  y", r"b: x\ny", "c: x"]


def test_what_a_daemon_says_cannot_drive_the_terminal() -> None:
    assert gather_lines([("a", ["\x1b[2J"]), ("b", ["\udcff", "\u202e"])]) == [
        r"a: \x1b[2J",
        "b:",
        r"  \xff",
        r"  \u202e",
    ]


def test_each_part_is_folded_by_itself() -> None:
    answers = [
        ("edge-1", [PartText("verb", ("verb=3",)), PartText("pid", ("pid=1",))]),
        ("edge-2", [PartText("verb", ("verb=3",)), PartText("pid", ("pid=2",))]),
        ("edge-3", [PartText("verb", ("verb=4",))]),  # it failed there
        ("edge-4", []),
    ]
    assert gather_text(answers) == (
        "verb\n  edge-1 edge-2: verb=3\n  edge-3: verb=4\npid\n  edge-1: pid=1\n  edge-2: pid=2\n"
    ).replace("edge-1 edge-2:", "edge-[1-2] (2):")


def test_one_part_has_no_heading() -> None:
    assert gather_text([("edge-1", [PartText("verb", ("verb=3",))])]) == "edge-1: verb=3\n"


def test_nothing_is_nothing() -> None:
    assert gather_text([]) == ""
    assert gather_text([("edge-1", [])]) == ""


def test_colour_is_around_names_alone() -> None:
    assert gather_lines([("a", ["x"])], style=Style(enabled=True)) == ["\x1b[1ma:\x1b[0m x"]


@given(st.lists(st.tuples(st.text(), st.sampled_from("abc"))))
def test_nobody_is_lost(answers: list[tuple[str, str]]) -> None:
    groups = gather(answers)
    assert sorted((name, answer) for names, answer in groups for name in names) == sorted(answers)
    assert len({answer for _names, answer in groups}) == len(groups)
