"""The dashboard in a real Chromium, over the API's own process with the real Kafka and MongoDB behind it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from playwright.sync_api import Browser, Route, expect, sync_playwright

from contract.video import Video
from tests.integration.dashboard.page_objects import LIMIT, VideosPage, Window
from tests.programs import required_program
from tests.published_videos import CHANNELS, PublishedVideos, make_video, published_videos

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OPTIONS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
STORED: Final = 60
PHONE: Final = {"width": 360, "height": 740}
TIMEOUT_MS: Final = 30_000
"""A busy machine may stand still for seconds; what is awaited is awaited, not timed."""
NOT_NOW: Final = "The videos cannot be read at the moment; try again shortly."
PROBLEM: Final = {
    "type": "urn:yousync:problem:read-model-unavailable",
    "title": "Service Unavailable",
    "status": 503,
    "detail": NOT_NOW,
    "instance": "/v1/videos",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = required_program("chromium", "chromium")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def published(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedVideos]:
    """A Kafka and MongoDB of this file's own (the topics have fixed names), with some videos stored."""
    with published_videos(tmp_path_factory.mktemp("servers"), STORED) as videos:
        yield videos


@pytest.fixture(scope="module")
def url(published: PublishedVideos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's process."""
    with published.api(tmp_path_factory.mktemp("api")) as url:
        yield url


@pytest.fixture
def window(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Window]:
    """A tab of a browser that knows nothing yet; at the end nothing may have gone wrong in it."""
    options = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options})
    context.set_default_timeout(TIMEOUT_MS)
    window = Window(context, url)
    yield window
    faults, elsewhere = list(window.faults), list(window.elsewhere)
    context.close()
    assert faults == []
    assert elsewhere == []


@pytest.fixture
def videos(window: Window) -> VideosPage:
    return VideosPage(window)


def _ids(videos: list[Video]) -> list[str]:
    return [video.id for video in videos]


def _newest(published: PublishedVideos, *, page: int = 1) -> list[str]:
    return _ids(published.newest_first[(page - 1) * LIMIT : page * LIMIT])


def _empty_page(**changes: object) -> dict[str, object]:
    page = {
        "items": [],
        "page": 1,
        "limit": LIMIT,
        "total": 0,
        "total_is_exact": True,
        "complete": True,
        "next_cursor": None,
    }
    return {**page, **changes}


def _total(published: PublishedVideos) -> str:
    return f"{len(published.newest_first):,} videos"


# What is shown


def test_the_newest_are_shown_with_links_to_youtube(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open().expect_ids(_newest(published))

    newest = published.newest_first[0]
    title = videos.cards.first.get_by_role("heading").get_by_role("link")
    expect(videos.total).to_have_text(_total(published))
    expect(title).to_have_text(newest.title)
    assert title.get_attribute("href") == newest.url
    assert title.get_attribute("rel") == "noopener"
    time = videos.cards.first.locator("time")
    assert time.get_attribute("datetime") == newest.published_at
    assert re.search(r"\b20\d\d\b.* \d\d:\d\d:\d\d", time.get_attribute("title") or "")
    picture = videos.cards.first.locator("img")
    assert picture.get_attribute("loading") == "lazy"
    foot = videos.page.get_by_role("contentinfo")
    expect(foot).to_contain_text("Developed with YouTube")
    for name, address in (
        ("YouTube\u2019s terms of service", "https://www.youtube.com/t/terms"),
        ("Google\u2019s privacy policy", "https://policies.google.com/privacy"),
    ):
        assert foot.get_by_role("link", name=name).get_attribute("href") == address


def test_what_others_wrote_is_only_ever_text(videos: VideosPage, published: PublishedVideos) -> None:
    hostile = next(video for video in published.newest_first if "<script>" in video.title)
    videos.open("/?query=tea&channel_id=UC-late-night&search=%3Cscript%3E")

    expect(videos.card(hostile.id).get_by_role("heading")).to_have_text(hostile.title)
    expect(videos.card(hostile.id).locator(".channel")).to_have_text(CHANNELS["UC-late-night"])
    expect(videos.chips).to_contain_text("Channel: Late Night <b>Python</b>")
    expect(videos.chips).to_contain_text("Search: <script>")
    assert videos.page.evaluate("window.ran") is None
    assert videos.page.locator("main script, main b, #list img[src='x']").count() == 0


def test_a_picture_that_cannot_be_had_leaves_its_place(videos: VideosPage, window: Window) -> None:
    window.page.route("https://i.ytimg.com/**", lambda route: route.fulfill(status=404))
    videos.open()

    expect(videos.cards.first.locator(".placeholder")).to_be_visible()
    box = videos.cards.first.locator(".thumb").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(16 / 9, rel=0.02)
    window.expect_fault("404")


# What arrives


def test_videos_appear_change_and_go_as_it_happens(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open().listening()
    video = make_video(published.next_number())

    published.publish(video)
    expect(videos.cards.first).to_have_attribute("data-id", video.id)
    expect(videos.total).to_have_text(_total(published))
    videos.expect_ids(_newest(published))

    published.publish(make_video(int(video.id.removeprefix("dash")), title="Now called otherwise"))
    expect(videos.card(video.id)).to_contain_text("Now called otherwise")

    published.remove(video.id)
    expect(videos.card(video.id)).to_have_count(0)
    videos.expect_ids(_newest(published))
    expect(videos.total).to_have_text(_total(published))


def test_what_is_being_read_does_not_move(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open().listening()
    videos.page.mouse.wheel(0, 900)
    read = videos.cards.nth(13)
    videos.page.wait_for_function("() => scrollY > 600")
    before, ids = read.bounding_box(), videos.ids()
    arrived = [make_video(published.next_number() + more) for more in range(3)]

    for video in arrived:
        published.publish(video)

    expect(videos.arrivals).to_have_text("3 new videos")
    expect(videos.page).to_have_title(re.compile(r"^\(3\) "))
    expect(videos.total).to_have_text(_total(published))
    assert read.bounding_box() == before
    assert videos.ids() == ids
    videos.arrivals.click()
    videos.loaded()
    videos.expect_ids(_newest(published))
    assert videos.page.evaluate("scrollY") == 0
    expect(videos.arrivals).to_be_hidden()
    expect(videos.page.get_by_role("heading", level=1)).to_be_focused()
    for video in arrived:
        published.remove(video.id)


def test_what_has_the_keyboard_does_not_move_either(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open().listening()
    link = videos.cards.first.get_by_role("heading").get_by_role("link")
    link.focus()
    video = make_video(published.next_number())

    published.publish(video)

    expect(videos.arrivals).to_have_text("1 new video")
    expect(link).to_be_focused()
    published.remove(video.id)
    expect(videos.arrivals).to_be_hidden()


def test_on_another_page_arrivals_are_told_and_lead_to_the_first(
    videos: VideosPage, published: PublishedVideos
) -> None:
    videos.open("/?page=2").listening()
    video = make_video(published.next_number())

    published.publish(video)
    videos.arrivals.click()

    expect(videos.page).to_have_url(f"{videos.window.url}/")
    expect(videos.cards.first).to_have_attribute("data-id", video.id)
    published.remove(video.id)


def test_only_what_passes_the_filters_arrives(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open("/?query=coffee").listening()
    videos.page.evaluate(
        """() => {
            window.seen = [];
            const look = (changes) => {
                const added = changes.flatMap((change) => [...change.addedNodes]);
                window.seen.push(...added.map((card) => card.dataset.id));
            };
            new MutationObserver(look).observe(document.getElementById("list"), { childList: true });
        }"""
    )
    number = published.next_number()
    passed, other = make_video(number, queries=["coffee"]), make_video(number + 1, queries=["tea"])

    published.publish(other)
    published.publish(passed)

    expect(videos.cards.first).to_have_attribute("data-id", passed.id)
    # Not for a moment either, until the page is asked for again.
    assert videos.page.evaluate("() => window.seen") == [passed.id]
    published.remove(passed.id)
    published.remove(other.id)


def test_arrivals_are_spoken_of_together(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open().listening()
    videos.page.evaluate(
        """() => {
            window.said = [];
            const announcer = document.getElementById("announcer");
            const look = () => window.said.push(announcer.textContent);
            new MutationObserver(look).observe(announcer, { childList: true, subtree: true, characterData: true });
        }"""
    )
    arrived = [make_video(published.next_number() + more) for more in range(3)]

    for video in arrived:
        published.publish(video)

    videos.page.wait_for_function("() => window.said.length > 0")
    videos.page.wait_for_timeout(1500)
    assert videos.page.evaluate("window.said") == ["3 new videos"]
    assert videos.page.locator("#announcer").get_attribute("role") == "status"
    for video in arrived:
        published.remove(video.id)


# Search, filters, pages


def test_search_as_one_types_keeps_the_last_answer(videos: VideosPage, published: PublishedVideos) -> None:
    wanted = [video for video in published.newest_first if video.title.startswith("How to make tea")]
    videos.open()
    held: list[Route] = []
    # The answer to what was typed first comes last.
    videos.page.route(re.compile(r"/v1/videos\?search=t(&|$)"), lambda route: held.append(route))  # noqa: PLW0108  # it cannot hold on to a builtin

    videos.search.press_sequentially("t")
    videos.page.wait_for_url("**/?search=t")
    videos.search.press_sequentially("ea how", delay=20)
    videos.page.wait_for_url("**/?search=tea+how")
    videos.expect_ids(_ids(wanted[:LIMIT]))
    for route in held:
        route.abort()
    videos.expect_ids(_ids(wanted[:LIMIT]))

    expect(videos.search).to_be_focused()
    expect(videos.total).to_have_text(f"{len(wanted)} videos")
    videos.page.go_back()
    videos.expect_ids(_newest(published))
    expect(videos.search).to_have_value("")
    assert videos.page.url == f"{videos.window.url}/"
    assert len(held) == 1


def test_what_is_being_typed_stays_in_the_box(videos: VideosPage) -> None:
    """Whatever is drawn meanwhile: here the list of queries comes between a key and the search for it."""
    held: list[Route] = []
    videos.page.route("**/v1/queries?*", lambda route: held.append(route))  # noqa: PLW0108  # it cannot hold on to a builtin
    videos.open()
    videos.page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))

    videos.search.press_sequentially("tea ")
    expect(videos.query.get_by_role("option")).to_have_count(1)
    for route in held:
        route.continue_()
    expect(videos.query.get_by_role("option")).not_to_have_count(1)

    expect(videos.search).to_have_value("tea ")
    videos.page.clock.run_for(1_000)
    videos.page.wait_for_url("**/?search=tea")
    expect(videos.search).to_have_value("tea ")


def test_a_search_that_finds_nothing_says_so_and_one_that_is_wrong_says_why(videos: VideosPage, window: Window) -> None:
    videos.open("/?search=nothinglikeit")

    expect(videos.panel).to_contain_text("No video found")
    videos.search.fill("a b c d e f g h i j k")
    expect(videos.page.locator("#search-fault")).to_have_text("The search must have at most 10 words.")
    videos.search.fill("tea")
    expect(videos.page.locator("#search-fault")).to_be_hidden()
    expect(videos.panel).to_be_hidden()
    window.expect_fault("400")


def test_a_search_that_ran_out_of_time_can_be_gone_on_with(videos: VideosPage, window: Window) -> None:
    body = _empty_page(total_is_exact=False, complete=False, next_cursor="bmV4dA")
    end = window.answer("/v1/videos", body)
    videos.open("/?search=tea")

    expect(videos.page.locator("#incomplete")).to_contain_text("ran out of time")
    expect(videos.total).to_have_text("0+ videos")
    end()
    window.answer("/v1/videos", {**body, "page": None, "complete": True, "next_cursor": None})
    videos.page.get_by_role("link", name="Search on from there").click()
    videos.page.wait_for_url("**/?search=tea&cursor=bmV4dA")
    expect(videos.panel).to_contain_text("Nothing this far back")


def test_paging_goes_back_to_where_one_was(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open()
    videos.pages.scroll_into_view_if_needed()
    left_at = videos.page.evaluate("scrollY")
    assert left_at > 500

    videos.go_to_page("Page 2")
    videos.expect_ids(_newest(published, page=2))
    expect(videos.page).to_have_url(f"{videos.window.url}/?page=2")
    assert videos.page.evaluate("scrollY") == 0
    expect(videos.page.get_by_role("heading", level=1)).to_be_focused()
    expect(videos.pages.locator("[aria-current]")).to_have_text("2")

    videos.go_to_page("Older")
    videos.expect_ids(_newest(published, page=3))
    videos.page.go_back()
    videos.expect_ids(_newest(published, page=2))
    videos.page.go_back()
    videos.expect_ids(_newest(published))
    videos.page.wait_for_function("left => Math.abs(scrollY - left) < 3", arg=left_at)
    videos.page.go_forward()
    videos.expect_ids(_newest(published, page=2))
    videos.page.reload()
    videos.expect_ids(_newest(published, page=2))
    videos.open("/?page=999")
    expect(videos.panel).to_contain_text("Nothing this far back")


def test_query_and_channel_narrow_the_list_and_chips_widen_it_again(
    videos: VideosPage, published: PublishedVideos
) -> None:
    coffee = [video for video in published.newest_first if "coffee" in video.queries]
    both = [video for video in coffee if video.channel.id == "UC-slow-pour"]
    videos.open()
    expect(videos.query.locator("option")).to_have_count(3)

    videos.query.select_option("coffee")
    videos.expect_ids(_ids(coffee[:LIMIT]))
    videos.cards.get_by_role("link", name="Slow Pour").first.click()
    videos.page.wait_for_url("**/?query=coffee&channel_id=UC-slow-pour")
    videos.expect_ids(_ids(both[:LIMIT]))
    expect(videos.total).to_have_text(f"{len(both)} videos")

    videos.chips.get_by_role("link", name="Query: coffee, remove this filter").click()
    videos.page.wait_for_url("**/?channel_id=UC-slow-pour")
    expect(videos.query).to_have_value("")
    videos.chips.get_by_role("link").click()
    videos.expect_ids(_newest(published))
    expect(videos.chips).to_be_hidden()


def test_beyond_what_is_counted_pages_go_on_by_cursor(videos: VideosPage, window: Window) -> None:
    body = _empty_page(page=41, total=1000, total_is_exact=False, next_cursor="bmV4dA")
    window.answer("/v1/videos", body)
    videos.open("/?channel_id=UC-slow-pour&page=41")

    expect(videos.total).to_have_text("1,000+ videos, page 41")
    older = videos.pages.get_by_role("link", name="Older")
    assert older.get_attribute("href") == "/?channel_id=UC-slow-pour&cursor=bmV4dA"


def test_a_page_too_deep_for_a_number_leads_on_by_cursor(videos: VideosPage, window: Window) -> None:
    problem = {
        **PROBLEM,
        "status": 400,
        "detail": "Go on after page 41 by its cursor.",
        "errors": [{"parameter": "page", "detail": "must be at most 41 at this limit"}],
        "next_cursor": "bmV4dA",
    }
    window.answer("/v1/videos", problem, status=400)
    videos.open("/?search=tea&page=42", settles=False)

    expect(videos.panel).to_contain_text("Go on after page 41 by its cursor.")
    assert videos.panel.get_by_role("link").get_attribute("href") == "/?search=tea&cursor=bmV4dA"
    window.expect_fault("400")


# When something is away


def test_stale_videos_are_shown_as_such(videos: VideosPage, window: Window) -> None:
    body = _empty_page()
    end = window.answer("/v1/videos", body, Age="90", Warning='110 - "Response is Stale"')
    videos.open()

    expect(videos.banner).to_contain_text("as they were 1.5 min ago")
    assert videos.banner.get_attribute("role") == "status"
    end()
    videos.page.reload()
    expect(videos.banner).to_be_empty()


def test_a_cut_stream_is_told_and_mended(videos: VideosPage, window: Window, published: PublishedVideos) -> None:
    window.page.route("**/v1/live**", lambda route: route.fulfill(status=503, json=PROBLEM))
    videos.open(settles=False)
    expect(videos.live).to_have_text("Interrupted")
    expect(videos.banner).to_contain_text("Live updates are interrupted")
    video = make_video(published.next_number())
    published.publish(video)

    window.page.unroute("**/v1/live**")

    expect(videos.live).to_have_text("Live", timeout=20_000)
    expect(videos.banner).to_be_empty()
    expect(videos.cards.first).to_have_attribute("data-id", video.id)
    published.remove(video.id)
    window.expect_fault("503")


def test_an_unreadable_store_is_told_and_tried_again(
    videos: VideosPage, window: Window, published: PublishedVideos
) -> None:
    end = window.answer("/v1/videos", PROBLEM, status=503)
    videos.open(settles=False)

    expect(videos.panel).to_contain_text("The videos cannot be loaded")
    expect(videos.panel).to_contain_text(NOT_NOW)
    end()
    videos.panel.get_by_role("button", name="Try again").click()
    videos.expect_ids(_newest(published))
    expect(videos.panel).to_be_hidden()
    window.expect_fault("503")


# For everybody


@pytest.mark.parametrize(
    "window", [{"color_scheme": "light"}, {"color_scheme": "dark"}], ids=["light", "dark"], indirect=True
)
@pytest.mark.parametrize("path", ["/", "/?page=2&query=tea", "/?search=nothinglikeit", "/?page=0&limit=x", "/pipeline"])
def test_axe_finds_nothing(window: Window, path: str) -> None:
    window.page.goto(window.url + path)
    window.page.wait_for_load_state("networkidle") if path == "/pipeline" else VideosPage(window).settled()
    expect(window.page.locator("#figures, #list").first).to_have_attribute("aria-busy", "false")

    assert window.axe_violations() == []


@pytest.mark.parametrize(
    "window", [{"color_scheme": "light"}, {"color_scheme": "dark"}], ids=["light", "dark"], indirect=True
)
def test_axe_finds_nothing_around_swagger_ui(window: Window) -> None:
    window.page.goto(f"{window.url}/docs")
    expect(window.page.locator("#operations-Videos-listVideos")).to_be_visible()

    assert window.axe_violations({"exclude": [["#swagger-ui"]]}) == []


@pytest.mark.parametrize(
    "window", [{"viewport": PHONE, "has_touch": True, "is_mobile": True}], ids=["phone"], indirect=True
)
@pytest.mark.parametrize("path", ["/", "/?query=coffee&channel_id=UC-slow-pour&search=to", "/pipeline", "/docs"])
def test_nothing_is_wider_than_a_phone(window: Window, path: str) -> None:
    window.page.goto(window.url + path)
    expect(window.page.locator("#list > .card, #chart svg, .opblock").first).to_be_visible()

    assert not window.overflows()
    assert window.page.locator("header a, header button").evaluate_all(
        "all => all.every(each => each.getBoundingClientRect().height >= 24)"
    )


def test_everything_can_be_reached_with_the_keyboard(videos: VideosPage, published: PublishedVideos) -> None:
    videos.open()
    focused = videos.page.locator(":focus")
    names = []
    for _ in range(9):
        videos.page.keyboard.press("Tab")
        names.append(
            focused.evaluate("each => each.labels?.[0]?.textContent ?? each.ariaLabel ?? each.textContent.trim()")
        )

    newest = published.newest_first[0]
    assert names == [
        "Skip to the content", "YouSync", "Videos", "Pipeline", "API", "Dark theme", "Search titles", "Followed query",
        newest.title,
    ]  # fmt: skip
    assert focused.evaluate("each => getComputedStyle(each, '::after').outlineStyle") == "solid"
    videos.page.keyboard.press("Tab")
    videos.page.keyboard.press("Enter")
    videos.page.wait_for_url(f"**/?channel_id={newest.channel.id}")

    videos.page.keyboard.press("Control+Home")
    videos.open()
    videos.page.keyboard.press("Tab")
    videos.page.keyboard.press("Enter")
    expect(videos.page.get_by_role("main")).to_be_focused()


def test_the_theme_is_the_system_s_until_it_is_chosen(videos: VideosPage) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    button = videos.page.get_by_role("button", name="Dark theme")
    videos.open()
    light = videos.page.evaluate(ground)
    expect(button).to_have_attribute("aria-pressed", "false")

    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert videos.page.evaluate(ground) != light
    dark = videos.page.evaluate(ground)
    videos.page.reload()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert videos.page.evaluate(ground) == dark

    button.click()
    videos.page.emulate_media(color_scheme="dark")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert videos.page.evaluate(ground) == dark


def test_a_script_that_got_in_would_not_run(videos: VideosPage, window: Window) -> None:
    videos.open()

    blocked = videos.page.evaluate(
        """() => {
            const script = document.createElement("script");
            try {
                script.textContent = "window.ran = true";
                document.body.append(script);
            } catch (error) {
                return error.name;
            }
            return "no error";
        }"""
    )

    assert blocked == "TypeError"
    assert videos.page.evaluate("window.ran") is None
    window.expect_fault("TrustedScript")


# The other pages


def test_the_pipeline_is_shown_in_figures_and_a_chart(window: Window, published: PublishedVideos) -> None:
    window.page.goto(f"{window.url}/pipeline")

    figures = window.page.locator("#figures")
    expect(figures.locator(".figure", has_text="Lag").locator(".value")).to_have_text("0")
    expect(figures.locator(".figure", has_text="Dead letters").locator(".value")).to_have_text("0")
    expect(figures.locator(".figure", has_text="Leader").locator(".value")).to_have_text("none known")
    expect(figures.locator(".figure", has_text="Served videos").locator(".value")).to_have_text("up to date")
    chart = window.page.locator("#chart svg")
    expect(chart.locator(".bar")).to_have_count(min(100, len(published.newest_first)))
    assert re.search(r"median [\d.]+ (s|min)", chart.get_attribute("aria-label") or "")


def test_unknown_figures_are_not_shown_as_numbers(window: Window) -> None:
    body = {
        "checked_at": None, "lag": None, "dead_letters": None, "quota_left": None, "leader": None, "queries": None,
        "stale_seconds": 75, "faults": ["Kafka has not answered yet."],
    }  # fmt: skip
    window.answer("/v1/pipeline", body)
    window.page.goto(f"{window.url}/pipeline")

    expect(window.page.locator("#banner")).to_contain_text("Kafka has not answered yet.")
    expect(window.page.locator("#figures .value")).to_have_text(
        ["unknown", "unknown", "unknown", "unknown", "1.3 min old", "none known"]
    )


def test_the_api_can_be_tried_out_on_its_page(window: Window, published: PublishedVideos) -> None:
    window.page.goto(f"{window.url}/docs")
    operation = window.page.locator("#operations-Videos-listVideos")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()

    answered = operation.locator(".live-responses-table")
    expect(answered).to_contain_text("200")
    expect(answered).to_contain_text(published.newest_first[0].id)
