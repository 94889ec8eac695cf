"""How many file descriptors are in use, also when none is left for counting them."""

import os
import resource
from contextlib import ExitStack, suppress

from notifier.daemon.descriptors import DescriptorUse, descriptors_in_use


def test_descriptors_in_use_returns_the_number_when_none_is_free() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors_in_use()
    assert before is not None
    assert before.limit == soft
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        lowered = before.used + 50
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        found = descriptors_in_use()
    assert found == DescriptorUse(lowered, lowered)
