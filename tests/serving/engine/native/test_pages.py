from __future__ import annotations

from serving.engine.native.pages import PagePool


def test_a_page_is_used_again_by_who_needs_one_of_its_size() -> None:
    pool = PagePool()
    small, large = pool.take(100), pool.take(5000)
    assert (small.nbytes, large.nbytes, pool.spare_bytes) == (100, 5000, 0)
    large[:] = 7
    addresses = small.ctypes.data, large.ctypes.data
    pool.put([small, large])
    assert pool.spare_bytes == 5100
    assert (pool.take(5000).ctypes.data, pool.take(100).ctypes.data) == (addresses[1], addresses[0])
    assert pool.spare_bytes == 0


def test_no_more_is_kept_than_may_be() -> None:
    pool = PagePool()
    pool.put([pool.take(size) for size in (100, 100, 50)])
    pool.trim(250)
    assert pool.spare_bytes == 250
    pool.trim(160)
    assert pool.spare_bytes == 150
    pool.trim(0)
    assert pool.spare_bytes == 0
