from __future__ import annotations

import pytest

from serving.service.errors import ErrorCode, ServiceError
from serving.service.gate import Gate, GateSettings


def test_places_are_given_back_and_never_waited_for() -> None:
    gate = Gate(GateSettings(max_concurrent_requests=1))
    with gate.place(), pytest.raises(ServiceError, match="1 requests are being answered") as refused, gate.place():
        pass
    assert (refused.value.code, refused.value.retry_after) == (ErrorCode.OVERLOADED, 1)
    with gate.place():
        pass


def test_bytes_of_all_requests_are_counted_until_those_end() -> None:
    gate = Gate(GateSettings(max_payload_bytes_in_flight=10))
    with gate.place() as first:
        first.hold(3)
        first.hold(3)
        with gate.place() as second:
            second.hold(4)
            with pytest.raises(ServiceError, match="requests of 10 bytes are being answered") as refused:
                second.hold(1)
            assert (refused.value.code, refused.value.retry_after) == (ErrorCode.OVERLOADED, 1)
        first.hold(4)
    with gate.place() as place:
        place.hold(10)
