"""`kill -9` of the processor in the middle of 20,000 items, seen from outside.

Nothing of ours is imported: `yousync up` runs, the processor is killed, and the API's full listing must be what the
simulator's oracle says: the same ids, in the right order, without duplicates.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.system.test_up import Up, by_cursor, get, ids, newest_first, until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]

BACKLOG = 20_000


def test_the_listing_equals_the_oracle_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"YOUSYNC_SIMULATOR_BACKLOG={BACKLOG}\nYOUSYNC_QUERIES=*\n")
    with Up(tmp_path / "home", "--rate", "0.01") as up:  # so few new ones that the comparison can settle
        url = up.wait_for_url()
        status = up.status()
        processor = next(row["pid"] for row in status["processes"] if row["name"] == "processor")
        oracle = f"{status['simulator_url']}/_simulator/published"
        until(lambda: get(url, limit=1)["total"] > BACKLOG // 10, 120, up.said)
        os.kill(processor, signal.SIGKILL)
        killed_at = get(url, limit=1)["total"]

        until(lambda: get(url, limit=1)["total"] >= BACKLOG, 300, up.said)
        until(lambda: ids(by_cursor(url, 100)) == ids(get(oracle)["videos"]), 120, up.said)
        items = by_cursor(url, 100)

    assert killed_at < BACKLOG, "the kill came too late to prove anything"
    assert items == newest_first(items)
    assert len(set(ids(items))) == len(items) >= BACKLOG
    assert "processor died (signal 9" in up.said()
