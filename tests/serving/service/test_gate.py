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
