from __future__ import annotations

import pytest

from serving.observability.requests import RequestRecord, acceptable_id, read_time_limit
from serving.service.errors import ErrorCode, ServiceError


@pytest.mark.parametrize("given", ["a", "a-1_2.3:4/5+6=@", "x" * 128])
def test_a_clients_id_is_kept(given: str) -> None:
    assert acceptable_id(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\n", "<script>", "é", '"'])
def test_an_unacceptable_id_is_replaced_by_one_of_its_own(given: str | None) -> None:
    made = acceptable_id(given)
    assert acceptable_id(made) == made != acceptable_id(given)


@pytest.mark.parametrize("given", ["", "abc", "0", "-1", "nan", "inf", "1e999"])
def test_a_time_limit_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ServiceError, match=r"x-request-timeout-seconds: .*: seconds above 0 are expected") as refused:
        read_time_limit(given)
    assert refused.value.code == ErrorCode.BAD_PARAMETER


def test_the_smaller_limit_holds() -> None:
    record = RequestRecord("1", "http", "unknown")
    assert 9.0 < record.seconds_left(10.0) <= 10.0
    record.time_limit = read_time_limit("2")
    assert record.seconds_left(10.0) <= 2.0
    assert record.seconds_left(1.0) <= 1.0
