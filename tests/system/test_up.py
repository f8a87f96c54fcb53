"""`yousync up` from outside: only the command line and HTTP, nothing of ours imported."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

YOUSYNC = str(Path(sys.executable).with_name("yousync"))
START_SECONDS = 240
CATCH_UP_SECONDS = 120
CATALOGUE_SIZE = 300
FAST = {"YOUSYNC_POLL_SECONDS": "1", "YOUSYNC_SIMULATOR_RATE": "2"}


class Up:
    """One run of `yousync up` in a home folder; its output goes to a file beside it."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.output = home.with_suffix(".out")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> Self:
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [YOUSYNC, "up", "--home", str(self.home), "--api-port", "0", *self._options],
                env=environment(),
                cwd=self.home.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for_url(self) -> str:
        pattern = re.compile(r"^YouSync is up: (http://\S+)$", re.MULTILINE)
        until(lambda: pattern.search(self.said()) or self.process.poll() is not None, START_SECONDS, self.said)
        match = pattern.search(self.said())
        assert match, self.said()
        return match[1]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another command beside it, in the same home."""
        return subprocess.run(
            [YOUSYNC, *command, "--home", str(self.home)],
            env=environment(),
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def family(self) -> list[psutil.Process]:
        """This process and everything that it started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


def environment() -> dict[str, str]:
    """Ours without settings of YouSync: a developer's key must not turn this into a real run."""
    kept = {
        name: value for name, value in os.environ.items() if not re.match("YOUSYNC_|YOUTUBE_|KAFKA_|MONGODB_", name)
    }
    return {**kept, **FAST}


def until(done: Callable[[], object], seconds: float, said: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds} s; it said:\n{said()}"
        time.sleep(0.2)


def get(url: str, **parameters: object) -> dict[str, Any]:
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}?{query}" if query else url, timeout=10) as answer:  # noqa: S310 - ours
        body: dict[str, Any] = json.load(answer)
        return body


def by_cursor(url: str, limit: int) -> list[dict[str, Any]]:
    """The whole listing, following cursors."""
    page = get(url, limit=limit)
    items = list(page["items"])
    while page["next_cursor"] is not None:
        page = get(url, limit=limit, cursor=page["next_cursor"])
        items += page["items"]
        assert len(items) < 100_000
    return items


def by_page(url: str, limit: int) -> list[dict[str, Any]]:
    """The whole listing, counting pages."""
    items: list[dict[str, Any]] = []
    for page in range(1, 1000):
        found = get(url, page=page, limit=limit)["items"]
        if not found:
            break
        items += found
    return items


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def newest_first(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: (item["published_at"], item["id"]), reverse=True)


def published(simulator: str) -> list[str]:
    """The oracle: what has been published, newest first; waits until the whole catalogue has."""

    def finished() -> bool:
        answer = get(f"{simulator}/_simulator/published")
        return bool(answer["finished"]) and all(video["searchable"] for video in answer["videos"])

    until(finished, CATCH_UP_SECONDS, lambda: "the simulator has not published its catalogue")
    return ids(get(f"{simulator}/_simulator/published")["videos"])


def expected(simulator: str, queries: list[str]) -> set[str]:
    """The oracle: what these queries should have found by now."""
    return {found for query in queries for found in get(f"{simulator}/_simulator/expected", q=query)["ids"]}


def write_catalogue(path: Path) -> None:
    """Made-up videos with what trips people up: quotes, ampersands, emoji, other scripts, empty descriptions."""
    chance = random.Random(7)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    titles = ("Plain {n}", 'Quotes "{n}" & <tags>', "Emoji 🎬 {n}", "日本語の動画 {n}", "שלום {n}", "Ünï çødé {n}")
    with path.open("w", encoding="utf-8") as lines:
        for number in range(CATALOGUE_SIZE):
            channel = number % 7
            video = {
                "video_id": "".join(chance.choices(alphabet, k=11)),
                "title": chance.choice(titles).format(n=number),
                "description": "" if number % 4 == 0 else f"Made up & numbered {number}.\nSecond line.",
                "published_at": f"2020-01-{1 + number // 24:02d}T{number % 24:02d}:00:00Z",
                "channel_id": f"UC{channel:022d}",
                "channel_title": f"Channel {channel} & friends",
                "duration_seconds": 60 + number,
                "tags": ["made up", str(number)],
                "language": "eng",
                "speakers": [],
            }
            lines.write(json.dumps(video, ensure_ascii=False) + "\n")


@contextmanager
def nothing_left(family: list[psutil.Process]) -> Iterator[None]:
    """After the block, none of these processes runs."""
    yield
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_catalogue_is_listed_as_the_oracle_says_and_survives_kill_and_restart(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.jsonl"
    write_catalogue(catalogue)
    with Up(tmp_path / "home", "--catalogue", str(catalogue), "--rate", "100") as up:
        url = up.wait_for_url()
        simulator = up.status()["simulator_url"]

        kill_the_processor(up)
        oracle = published(simulator)
        assert len(oracle) == CATALOGUE_SIZE
        until(lambda: get(url)["total"] == CATALOGUE_SIZE, CATCH_UP_SECONDS, up.said)

        items = by_cursor(url, 37)
        assert ids(items) == oracle
        assert items == newest_first(items)
        assert by_page(url, 100) == items
        assert get(f"{url}/{oracle[0]}") == items[0]
        assert "processor died (signal 9" in up.said()

        check_other_commands(up, oracle)
        with nothing_left(up.family()):
            up.process.send_signal(signal.SIGTERM)
            assert up.process.wait(60) == 0, up.said()

        up.start()
        assert ids(by_cursor(up.wait_for_url(), 100)) == oracle
        with nothing_left(up.family()):
            up.process.send_signal(signal.SIGINT)
            assert up.process.wait(60) == 0, up.said()


def kill_the_processor(up: Up) -> None:
    def process() -> Mapping[str, Any]:
        return next(row for row in up.status()["processes"] if row["name"] == "processor")

    until(lambda: process()["state"] == "ready", START_SECONDS, up.said)
    before = process()["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: process()["restarts"] == 1 and process()["state"] == "ready", START_SECONDS, up.said)
    assert process()["pid"] != before


def check_other_commands(up: Up, oracle: list[str]) -> None:
    refused = up.run("up")
    assert refused.returncode == 1
    assert re.fullmatch(r"Another `yousync up` runs in .*: stop it, or choose another folder.*\n", refused.stderr)

    # The producer repeats what is inside its overlap, so the lag ends a while after the last video.
    until(lambda: up.status()["pipeline"]["lag"] == 0, CATCH_UP_SECONDS, up.said)
    status = up.status()
    assert status["pipeline"]["videos"] == CATALOGUE_SIZE
    assert status["pipeline"]["dead_letters"] == 0
    assert 0 < status["pipeline"]["quota_left"]["search"] < 10_000_000
    assert {row["name"]: row["state"] for row in status["processes"]} == dict.fromkeys(
        ("MongoDB", "Kafka", "simulator", "processor", "producer", "api"), "ready"
    )
    assert f"{CATALOGUE_SIZE} videos stored" in up.run("status").stdout

    topics = up.run("topics")
    assert (topics.returncode, topics.stderr) == (0, "")
    assert "as they must be" in topics.stdout

    config = json.loads(up.run("config", "--json").stdout)
    values = {row["variable"]: row for row in config}
    assert values["YOUSYNC_QUERIES"]["value"] == "*"
    assert values["YOUSYNC_POLL_SECONDS"] == {"variable": "YOUSYNC_POLL_SECONDS", "value": "1.0", "from": "set"}
    assert values["KAFKA_BOOTSTRAP_SERVERS"]["from"] == "yousync up"

    tail = up.run("tail", "videos", "--from-beginning", "--limit", str(CATALOGUE_SIZE), "--json")
    records = [json.loads(line) for line in tail.stdout.splitlines()]
    assert len(records) == CATALOGUE_SIZE
    assert {record["key"] for record in records} <= set(oracle)
    assert all(record["value"]["id"] == record["key"] for record in records)
    missing = up.run("tail", "no-such-topic")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("There is no topic no-such-topic")


def test_generated_videos_are_found_and_a_killed_up_leaves_nothing_behind(tmp_path: Path) -> None:
    with Up(tmp_path / "home") as up:
        url = up.wait_for_url()
        simulator = up.status()["simulator_url"]
        queries = json.loads(up.run("config", "--json").stdout)
        followed = next(row["value"] for row in queries if row["variable"] == "YOUSYNC_QUERIES").split(";")
        assert len(followed) == 2

        wanted = expected(simulator, followed)
        assert len(wanted) > 50
        until(lambda: wanted <= set(ids(by_cursor(url, 100))), CATCH_UP_SECONDS, up.said)
        items = by_cursor(url, 100)
        assert set(ids(items)) <= expected(simulator, followed)
        assert items == newest_first(items)
        assert len(set(ids(items))) == len(items)
        assert "quotas are generous" in up.said()

        with nothing_left(up.family()):
            up.process.kill()
            up.process.wait()


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as listener:
        assert listener.stdout
        port = listener.stdout.readline().strip()
        refused = subprocess.run(
            [YOUSYNC, "up", "--home", str(tmp_path / "home"), "--api-port", port],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        listener.communicate("\n")

    assert refused.returncode == 1
    assert refused.stderr == (
        f"The API cannot listen on port {port} of 127.0.0.1, another program uses it: choose another with --api-port\n"
    )


def test_wrong_settings_are_all_listed_before_anything_starts(tmp_path: Path) -> None:
    refused = subprocess.run(
        [YOUSYNC, "up", "--home", str(tmp_path / "home"), "--rate", "1000"],
        env={**environment(), "YOUSYNC_POLL_SECONDS": "soon"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert refused.returncode == 2
    assert sorted(line.partition(":")[0] for line in refused.stderr.splitlines()) == [
        "YOUSYNC_POLL_SECONDS",
        "YOUSYNC_SIMULATOR_RATE",
    ]
    assert not (tmp_path / "home").exists()
