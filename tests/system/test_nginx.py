"""nginx as it is deployed, in front of two real processes of the API: `docs/operations/edge.md` is what is tested."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from query_api.negotiation import choose_coding
from tests.api_process import api_process, becomes
from tests.edge import ALLOWED_ORIGIN, Answer, Client, Edge, edge, nginx
from tests.published_videos import make_video, published_videos

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STORED = 150
READERS = 8
PAGES_EACH = 100
"""Of each reader, who has an address of their own: under what one address may ask at once."""

ADDRESSES = (f"127.0.{network}.{host}" for network in range(1, 200) for host in range(1, 250))
"""Of this machine, each used once: what one test asked is not held against the next."""

COUNTER = iter(range(1_000_000))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with (
        published_videos(tmp_path_factory.mktemp("servers"), STORED) as videos,
        edge(videos, tmp_path_factory.mktemp("edge")) as whole,
    ):
        yield whole


@pytest.fixture
def client(running: Edge) -> Iterator[Client]:
    with running.client(next(ADDRESSES)) as one:
        yield one


def unseen_page() -> str:
    """A page that nginx cannot have kept."""
    return f"/v1/videos?limit=5&published_after=2020-01-01T00:00:00Z&page={next(COUNTER) + 1}"


def problem(answer: Answer) -> dict[str, Any]:
    assert answer.headers.get_content_type() == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    stated: dict[str, Any] = json.loads(answer.body)
    assert stated["status"] == answer.status
    return stated


def test_both_replicas_are_asked(running: Edge, client: Client) -> None:
    before = [running.answered(number) for number in range(2)]

    assert {client.ask(unseen_page()).status for _ in range(40)} == {200}

    grown = [running.answered(number) - before[number] for number in range(2)]
    assert sum(grown) >= 40
    assert min(grown) >= 10


@pytest.mark.parametrize("stop", ["kill", "terminate"])
def test_a_replica_may_go_under_load_without_a_failed_request(running: Edge, stop: str) -> None:
    answered: list[int] = []
    halfway = threading.Event()

    def read(address: str) -> None:
        with running.client(address) as reader:
            for _ in range(PAGES_EACH):
                answered.append(reader.ask(unseen_page()).status)
                if len(answered) >= READERS * PAGES_EACH // 4:
                    halfway.set()

    with ThreadPoolExecutor(READERS) as threads:
        reading = [threads.submit(read, next(ADDRESSES)) for _ in range(READERS)]
        assert halfway.wait(60)
        if stop == "kill":
            running.kill_replica(0)
        else:
            running.process(0).terminate()
        left = READERS * PAGES_EACH - len(answered)
        for readers_end in reading:
            readers_end.result()
    running.process(0).wait(30)
    running.start_replica(0)

    assert left > 0
    assert len(answered) == READERS * PAGES_EACH
    assert set(answered) == {200}
    with running.client(next(ADDRESSES)) as reader:
        becomes(lambda: reader.ask(unseen_page()).status == 200 and running.answered(0) > 0)


def test_a_page_asked_for_again_at_once_is_nginxs(running: Edge, client: Client) -> None:
    page = unseen_page()
    before = running.answered(0) + running.answered(1)

    answers = [client.ask(page) for _ in range(100)]

    assert answers[0].cache == "MISS"
    kept = [answer for answer in answers if answer.cache == "HIT"]
    assert kept
    assert {answer.body for answer in answers} == {answers[0].body}
    assert running.answered(0) + running.answered(1) - before == len(answers) - len(kept)


def test_a_new_video_shows(running: Edge, client: Client) -> None:
    newest = "/v1/videos?limit=3"
    client.ask(newest)
    video = make_video(running.videos.next_number())

    running.videos.publish(video)

    def shown() -> bool:
        return bool(json.loads(client.ask(newest).body)["items"][0]["id"] == video.id)

    pause_between(shown)


def pause_between(true: Callable[[], bool]) -> None:
    """Poll as one reader does who respects the limit."""
    pause = threading.Event()
    becomes(lambda: true() or pause.wait(0.1))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=0.0,br;q=0.001", "br"),
        ("br;q=1.0", "br"),
        ("gzip;q=0", "identity"),
        ("deflate, vbr, gzipped", "identity"),
        ("identity", "identity"),
        ("", "identity"),
    ],
)
def test_the_apis_codings_pass_as_they_are(running: Edge, client: Client, accepted: str, coding: str) -> None:
    page = "/v1/videos?limit=50"

    with Client(running.api_ports[0]) as direct:

        def passes() -> bool:
            """Once what other tests published is everywhere."""
            made = direct.ask(page, {"Accept-Encoding": coding})
            passed = [client.ask(page, {"Accept-Encoding": accepted}) for _ in range(3)]
            assert {answer.headers["Content-Encoding"] or "identity" for answer in passed} == {coding}
            assert all(answer.headers.get_all("Vary") == ["Accept-Encoding", "Origin"] for answer in passed)
            if coding == "gzip":
                assert len(json.loads(gzip.decompress(made.body))["items"]) == 50
            return {(answer.headers["ETag"], answer.body) for answer in passed} == {(made.headers["ETag"], made.body)}

        pause_between(passes)
    assert choose_coding(accepted) == coding


def test_who_has_the_page_is_told_so(running: Edge, client: Client) -> None:
    page = unseen_page()
    tag = client.ask(page).headers["ETag"]
    other = unseen_page()

    for _ in range(20):
        again = client.ask(page, {"If-None-Match": tag})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert client.ask(page, {"If-None-Match": '"other"'}).status == 200
    with Client(running.api_ports[0]) as direct:
        known = direct.ask(other).headers["ETag"]
    unseen = client.ask(other, {"If-None-Match": known})
    assert (unseen.status, unseen.cache) == (304, "MISS")


def test_what_one_web_page_may_read_is_not_kept_for_another(client: Client) -> None:
    page = unseen_page()

    for _ in range(5):
        for origin, allowed in ((ALLOWED_ORIGIN, ALLOWED_ORIGIN), ("https://other.example", None)):
            assert client.ask(page, {"Origin": origin}).headers["Access-Control-Allow-Origin"] == allowed
        assert client.ask(page).headers["Access-Control-Allow-Origin"] is None


def test_what_must_not_be_kept_is_not(client: Client) -> None:
    assert {client.ask("/v1/pipeline").cache for _ in range(20)} == {"MISS"}


def test_events_come_as_they_happen_and_go_on_where_a_client_left(running: Edge) -> None:
    first, missed = make_video(running.videos.next_number()), make_video(running.videos.next_number() + 1)
    with running.client(next(ADDRESSES)) as listener:
        stream = listener.open("/v1/live")
        assert stream.headers.get_content_type() == "text/event-stream"
        running.videos.publish(first)
        seen_id = ""
        while first.id.encode() not in (line := stream.readline()):
            seen_id = line.removeprefix(b"id:").strip().decode() if line.startswith(b"id:") else seen_id
        while line.strip():
            line = stream.readline()
            seen_id = line.removeprefix(b"id:").strip().decode() if line.startswith(b"id:") else seen_id
        assert not stream.isclosed()
    assert seen_id

    running.videos.publish(missed)

    with running.client(next(ADDRESSES)) as listener:
        stream = listener.open("/v1/live", {"Last-Event-ID": seen_id})
        got = b""
        while missed.id.encode() not in got:
            line = stream.readline()
            assert line, "the stream ended"
            got += line
        assert first.id.encode() not in got


@pytest.mark.parametrize(
    "target",
    ["/metrics", "/livez", "/readyz", "//metrics", "/%6detrics", "/v1/../metrics", "/readyz/", "/metrics?x=1"],
)
def test_admin_routes_are_nowhere(client: Client, target: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = client.ask(target, method=method)
        assert answer.status == 404
        assert problem(answer)["title"] == "Not Found"


def test_other_methods_and_refusals_pass(client: Client) -> None:
    page = unseen_page()
    head = client.ask(page, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(client.ask(page).body)
    options = client.ask("/v1/videos", method="OPTIONS")
    assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    refused = client.ask("/v1/videos?limit=101&pages=1")
    assert {fault["parameter"] for fault in problem(refused)["errors"]} == {"limit", "pages"}
    posted = client.ask("/v1/videos", method="POST")
    assert (posted.status, posted.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert problem(posted)["detail"] == "This path does not answer to that method."
    dashboard = client.ask("/")
    assert dashboard.headers["Content-Security-Policy"]
    assert dashboard.headers["Server"] == "nginx"


@pytest.mark.parametrize(
    ("status", "target", "more"),
    [
        (413, "/v1/videos", {"method": "POST", "body": bytes(2_000)}),
        (414, "/v1/videos?search=" + "x" * 9_000, {}),
        (431, "/v1/videos", {"headers": {"X-Long": "x" * 9_000}}),
    ],
    ids=["body", "address", "header"],
)
def test_what_is_too_large_is_refused(client: Client, status: int, target: str, more: dict[str, Any]) -> None:
    answer = client.ask(target, **more)

    assert answer.status == status
    problem(answer)


def test_one_address_may_not_ask_for_ever_and_others_still_may(running: Edge) -> None:
    with running.client(next(ADDRESSES)) as greedy, running.client(next(ADDRESSES)) as modest:
        answers = (greedy.ask("/v1/videos?limit=2") for _ in range(5_000))
        refused = next(answer for answer in answers if answer.status != 200)

        assert refused.status == 429
        assert refused.headers["Retry-After"] == "1"
        assert problem(refused)["title"] == "Too Many Requests"
        assert modest.ask("/v1/videos?limit=2").status == 200


def test_of_many_who_want_the_same_page_one_asks(tmp_path: Path) -> None:
    def ask(_reader: int) -> Answer:
        with Client(port) as client:
            return client.ask("/slow?seconds=0.5")

    with api_process(tmp_path) as api, nginx([api.port]) as (port, _log), ThreadPoolExecutor(READERS) as threads:
        answers = list(threads.map(ask, range(READERS)))

    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.cache for answer in answers) == ["HIT"] * (READERS - 1) + ["MISS"]


def test_without_any_replica_kept_pages_are_shown_as_stale(tmp_path: Path) -> None:
    with (
        api_process(tmp_path) as api,
        nginx([api.port]) as (port, _log),
        Client(port) as client,
    ):
        kept = client.ask("/quick")
        api.end()

        pause_between(lambda: client.ask("/quick").cache == "STALE")
        stale, unknown = client.ask("/quick"), client.ask("/quick?another")

    assert (stale.status, stale.body) == (200, kept.body)
    assert stale.headers["Warning"] == '110 - "Response is Stale"'
    assert unknown.status == 502
    assert problem(unknown)["title"] == "Bad Gateway"
    assert unknown.headers["Retry-After"] == "1"


def test_the_log_has_every_request_and_no_query_string(running: Edge, client: Client) -> None:
    client.ask("/v1/videos?search=secret-words")

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]

    becomes(lambda: any(line["path"] == "/v1/videos" for line in lines()))
    assert {"timestamp", "method", "status", "seconds", "cache", "upstream"} <= lines()[-1].keys()
    assert not [line for line in lines() if "secret-words" in str(line)]
