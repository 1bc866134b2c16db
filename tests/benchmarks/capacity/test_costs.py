"""Costs between and beyond what was measured."""

from __future__ import annotations

import pytest

from benchmarks.capacity.costs import EngineCosts, Line, Work, fit_line


def test_a_line_goes_on_as_its_outermost_pieces_do() -> None:
    line = Line(((1.0, 10.0), (2.0, 12.0), (4.0, 20.0)))
    assert [line(x) for x in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)] == [8.0, 10.0, 11.0, 12.0, 16.0, 20.0, 24.0]


def test_a_line_of_one_point_is_constant_and_none_is_negative() -> None:
    assert Line(((3.0, 7.0),))(100.0) == 7.0
    assert Line(((2.0, 1.0), (3.0, 2.0)))(0.0) == 0.0


def test_a_fit_has_the_means_of_the_pieces() -> None:
    low, high = [(1.0, 2.0), (2.0, 4.0)], [(5.0, 8.0), (7.0, 10.0)]
    assert fit_line(high + low, edges=(4,), least=2) == Line(((1.5, 3.0), (6.0, 9.0)))


def test_a_fit_does_not_fall() -> None:
    assert fit_line([(1.0, 5.0), (8.0, 4.0)], edges=(4,), least=1) == Line(((1.0, 5.0), (8.0, 5.0)))


def test_a_fit_leaves_out_the_slowest_hundredth_and_what_was_seldom_seen() -> None:
    usual, slow, seldom = [(1.0, 2.0)] * 100, [(1.0, 900.0)], [(9.0, 5.0)] * 4
    assert fit_line([*slow, *usual, *seldom], edges=(4,)) == Line(((1.0, 2.0),))


def test_a_fit_of_few_observations_takes_all() -> None:
    assert fit_line([(1.0, 2.0), (9.0, 4.0)], edges=(4,)) == Line(((5.0, 3.0),))
    with pytest.raises(ValueError, match="nothing was observed"):
        fit_line([], edges=(4,))


def test_a_request_alone_takes_its_encoding_and_its_steps() -> None:
    work = Work(source_tokens=10, claimed_rows=4, cache_bytes=1, rows=(1, 4, 4))
    costs = EngineCosts((work,), 1, encode=Line(((0.0, 0.0), (1.0, 0.5))), decode=Line(((0.0, 1.0), (1.0, 2.0))))
    assert costs.alone(work) == 5.0 + 2.0 + 5.0 + 5.0
