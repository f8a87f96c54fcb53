"""Fetching jars from the repository that the resolver knows: small ones, into an empty folder."""

import gc
import threading
from pathlib import Path

import pytest

from yousync.local.kafka_jars import DownloadStoppedError, Jar, ensure_jars, recorded_jars
from yousync.local.server import LocalStackError

pytestmark = pytest.mark.integration

SMALL = tuple(jar for jar in recorded_jars() if jar.filename.startswith(("jspecify", "slf4j-api")))


class Reports:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def __call__(self, done: int, wanted: int, downloaded: int) -> None:
        self.seen.append((done, wanted, downloaded))


def test_jars_are_fetched_and_only_the_missing_and_damaged_again(tmp_path: Path) -> None:
    reports = Reports()
    paths = ensure_jars(SMALL, tmp_path, reports)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(jar.filename for jar in SMALL)
    assert reports.seen[0] == (0, 2, 0)
    assert reports.seen[-1] == (2, 2, sum(path.stat().st_size for path in paths))

    whole = paths[1].stat().st_mtime_ns
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[:100])
    again = Reports()
    ensure_jars(SMALL, tmp_path, again)

    assert again.seen[0] == (1, 2, 0)
    assert paths[0].read_bytes() == content
    assert paths[1].stat().st_mtime_ns == whole


def test_a_jar_with_another_sum_is_refused_and_deleted(tmp_path: Path) -> None:
    wrong = Jar(SMALL[0].coordinate, "0" * 64)

    with pytest.raises(
        LocalStackError, match=rf"^Refused {wrong.filename}: its SHA-256 is .*, recorded is 0{{64}}; .*$"
    ):
        ensure_jars((wrong,), tmp_path, Reports())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the resolver leaves a refusal open
def test_a_jar_that_the_repository_does_not_have_is_one_sentence(tmp_path: Path) -> None:
    missing = Jar("org.jspecify:jspecify:0.0.0-none", "0" * 64)

    with pytest.raises(LocalStackError, match=r"^Cannot download jspecify-0\.0\.0-none\.jar .*the repository does not"):
        ensure_jars((missing,), tmp_path, Reports())
    gc.collect()


def test_a_download_that_is_told_to_stop_leaves_no_half_jar(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(DownloadStoppedError):
        ensure_jars(SMALL, tmp_path, Reports(), stop)

    assert list(tmp_path.iterdir()) == []
