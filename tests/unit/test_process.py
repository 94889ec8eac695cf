"""Memory that the process returns to the operating system."""

import ctypes

import pytest

from notifier import process
from tests.support.memory import resident_bytes


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library has no malloc_trim")
def test_release_free_memory_returns_scattered_freed_memory_to_the_system() -> None:
    pieces = [bytes(2_000) for _ in range(20_000)]
    full = resident_bytes()
    # Every hundredth piece is kept, so that the freed memory is not in one piece at the end of the heap.
    kept = pieces[::100]
    pieces.clear()
    process.release_free_memory()
    assert resident_bytes() < full - 20_000_000
    assert len(kept) == 200
