from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.access import Access, ApiKey, bearer, make_key, read_keys
from serving.service.errors import ErrorCode, ServiceError


def refusal(access: Access, key: str | None) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        access.name_of(key)
    return refused.value


def test_a_key_is_known_by_its_hash() -> None:
    (alice, known), (bob, other) = make_key("alice"), make_key("bob")
    access = Access(read_keys([known.line(), other.line()]))
    assert (access.name_of(alice), access.name_of(bob)) == ("alice", "bob")
    assert alice not in known.line()


def test_the_hash_is_no_key() -> None:
    _, known = make_key("alice")
    assert refusal(Access([known]), known.digest.hex()).code == ErrorCode.UNAUTHENTICATED


@pytest.mark.parametrize("key", [None, "", "dqb_", "é", "\udcff"])
def test_other_keys_are_refused_without_being_repeated(key: str | None) -> None:
    error = refusal(Access([make_key("alice")[1]]), key)
    assert error.code == ErrorCode.UNAUTHENTICATED
    assert error.retry_after is None
    assert not key or key == "dqb_" or key not in error.message


def test_without_keys_everybody_may_ask() -> None:
    assert Access().name_of(None) is None


@given(st.text(min_size=5))
def test_a_line_that_is_none_is_never_repeated(line: str) -> None:
    with pytest.raises(ValueError, match="NAME:HASH is expected") as refused:
        ApiKey.parse(line)
    assert line not in str(refused.value)


def test_files_may_have_comments_and_the_entry_at_fault_is_numbered() -> None:
    line = make_key("alice")[1].line()
    assert [key.name for key in read_keys(["# who may ask", "", line])] == ["alice"]
    with pytest.raises(ValueError, match="entry 2: NAME:HASH is expected"):
        read_keys([line, "dqb_secret"])
    with pytest.raises(ValueError, match="entry 2: the name alice is given twice"):
        read_keys([line, line])


@pytest.mark.parametrize(
    ("header", "key"),
    [(None, None), ("", None), ("Bearer a", "a"), ("bearer  a ", "a"), ("Basic a", None), ("Bearer ", None)],
)
def test_bearer(header: str | None, key: str | None) -> None:
    assert bearer(header) == key
