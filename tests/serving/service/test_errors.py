from __future__ import annotations

import pytest
from grpc import StatusCode

from serving.rpc.statuses import GRPC_STATUS
from serving.service.errors import HTTP_STATUS, ErrorCode, ServiceError, internal_error


@pytest.mark.parametrize("table", [HTTP_STATUS, GRPC_STATUS])
def test_every_code_has_a_status(table: dict[ErrorCode, object]) -> None:
    assert set(table) == set(ErrorCode)


def test_no_error_is_a_success() -> None:
    assert all(status >= 400 for status in HTTP_STATUS.values())
    assert StatusCode.OK not in GRPC_STATUS.values()


def test_codes_that_the_interface_documents_are_the_codes() -> None:
    """The .proto lists them for clients."""
    from protos.generate import PROTO, ROOT

    comment = (ROOT / PROTO).read_text().partition("syntax")[0].replace("//", " ")
    listed = comment.partition("one of")[2].partition("retry-after")[0]
    assert {word.strip() for word in listed.split(",")} == {code.value for code in ErrorCode}


def test_only_passing_troubles_ask_for_a_retry() -> None:
    retried = {code for code in ErrorCode if ServiceError(code, "").retry_after is not None}
    assert retried == {ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE}


def test_internal_error_says_nothing_of_the_inside() -> None:
    try:
        raise RuntimeError("/root/secret")
    except RuntimeError:
        assert "secret" not in internal_error().message
