"""The metrics of a standby process."""

import pytest

from notifier.web.metrics.standby import standby_page
from tests.support.metric_page import only, read
from tests.support.promtool import promtool


@pytest.mark.parametrize("is_reachable", [True, False])
def test_standby_page_names_the_store_and_whether_the_database_is_reachable(*, is_reachable: bool) -> None:
    page = read(standby_page("db1:5432/notifier/acme", is_reachable=is_reachable))
    assert only(page, "notifier_holds_store", "store=db1:5432/notifier/acme") == 0
    assert only(page, "notifier_store_reachable", "store=db1:5432/notifier/acme") == is_reachable


def test_standby_page_passes_promtool_without_remarks() -> None:
    checked = promtool("check", "metrics", said=standby_page('a "path"\\', is_reachable=True))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
