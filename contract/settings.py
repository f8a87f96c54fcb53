"""Every setting of every service: its environment variable, unit, default and bounds, in one place.

Read from the environment, then from `.env` in the working directory. The README's table is made from the
descriptions here (a test compares them).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ALL_VIDEOS: Final = "*"
"""The query that stands for a search without words."""

ANY_ORIGIN: Final = "*"
"""Stands for every origin among those that may read the API."""

MAX_QUERY_CHARACTERS: Final = 200

_QUERY_SEPARATOR: Final = re.compile(r"[\n;]")

_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
"""An origin as browsers send it: never with a path, a final slash or capitals."""

_URI_NAME: Final = r"(?:[^\s:/?@%]|%[0-9A-Fa-f]{2})+"
_URI_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/?@,\[\]]+)"
_URI_OPTION: Final = r"[^\s=&;]+=[^\s=&;]*"
_MONGODB_URI: Final = re.compile(
    rf"mongodb(?:\+srv)?://(?:{_URI_NAME}(?::(?P<password>{_URI_NAME})?)?@)?"
    rf"(?P<hosts>{_URI_HOST}(?::\d{{1,5}})?(?:,{_URI_HOST}(?::\d{{1,5}})?)*)"
    rf"(?:/[^\s/?\\\"$]*)?(?:\?(?:{_URI_OPTION}(?:[&;]{_URI_OPTION})*)?)?"
)
"""A connection string as drivers read it, so far as that can be said without one."""


_UNAUTHORIZED: Final = 13
_AUTHENTICATION_FAILED: Final = 18

_SECRET: Final = frozenset({"youtube_api_key", "mongodb_uri", "kafka_sasl_password"})


class SettingsError(Exception):
    """Settings are missing or wrong; the message lists every fault, one a line, each with its variable."""


def _env(*names: str, **limits: Any) -> Any:
    """A field that is read from the first of these environment variables."""
    return Field(validation_alias=AliasChoices(*names), **limits)


class Settings(BaseSettings):
    """The settings as a service uses them; see `load_settings`."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    youtube_api_key: SecretStr | None = _env(
        "YOUTUBE_API_KEY",
        "YOUTUBE_KEY",
        default=None,
        description="Key of the YouTube Data API, or several keys of one project separated by commas, for rotation "
        "(they share one quota). Without one, `yousync up` uses the simulator and says so.",
    )
    youtube_api_endpoint: str = _env(
        "YOUTUBE_API_ENDPOINT",
        default="https://youtube.googleapis.com/",
        pattern=r"^https?://[^\s/]+",
        description="Where the YouTube Data API answers; `yousync up` points it at the simulator.",
    )
    queries: Annotated[tuple[str, ...], NoDecode] = _env(
        "YOUSYNC_QUERIES",
        default=(),
        description="Search queries to follow, separated by newlines or `;`. `*` is a search without words. "
        "Required with a key.",
    )
    poll_seconds: float = _env(
        "YOUSYNC_POLL_SECONDS", default=10.0, gt=0, le=86_400, description="Length of the producer's tick."
    )
    overlap_seconds: int = _env(
        "YOUSYNC_OVERLAP_SECONDS",
        default=21_600,
        ge=0,
        le=2_592_000,
        description="How far each search reaches back before its watermark, for videos that YouTube indexes late.",
    )
    sweep_seconds: int = _env(
        "YOUSYNC_SWEEP_SECONDS",
        default=108_000,
        ge=0,
        le=2_592_000,
        description="How far the sweep of each query, twice a day, reaches back, for videos that YouTube indexes later "
        "than the overlap; no more than the overlap means no sweep.",
    )
    backfill_seconds: int = _env(
        "YOUSYNC_BACKFILL_SECONDS",
        default=604_800,
        ge=0,
        le=31_622_400,
        description="How far the first search of a new query reaches back.",
    )
    search_calls_per_day: int = _env(
        "YOUSYNC_SEARCH_CALLS_PER_DAY",
        default=100,
        ge=1,
        description="Quota of search calls a Pacific day; each page is a call.",
    )
    units_per_day: int = _env(
        "YOUSYNC_UNITS_PER_DAY",
        default=10_000,
        ge=1,
        description="Quota of all other calls, in units a Pacific day.",
    )
    keep_all_uploads: bool = _env(
        "YOUSYNC_KEEP_ALL_UPLOADS",
        default=False,
        description="Keep every upload of a channel that a query has found, not only those that match a query.",
    )
    youtube_timeout_seconds: float = _env(
        "YOUSYNC_YOUTUBE_TIMEOUT_SECONDS",
        default=10.0,
        gt=0,
        le=300,
        description="How long one call to YouTube may take as a whole.",
    )

    kafka_bootstrap_servers: str = _env(
        "KAFKA_BOOTSTRAP_SERVERS",
        default="127.0.0.1:9092",
        pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$",
        description="Kafka brokers as `host:port`, separated by commas.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _env(
        "KAFKA_SECURITY_PROTOCOL",
        default="PLAINTEXT",
        description="How the brokers are spoken to: `PLAINTEXT`, `SSL` (TLS), `SASL_SSL` (TLS, and a user), or "
        "`SASL_PLAINTEXT`.",
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = _env(
        "KAFKA_SASL_MECHANISM",
        default="SCRAM-SHA-512",
        description="How the user proves who it is: `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.",
    )
    kafka_sasl_username: str | None = _env(
        "KAFKA_SASL_USERNAME",
        default=None,
        description="The user at the brokers; needed with SASL.",
    )
    kafka_sasl_password: SecretStr | None = _env(
        "KAFKA_SASL_PASSWORD",
        default=None,
        description="The user's password; needed with SASL.",
    )
    kafka_ssl_cafile: Path | None = _env(
        "KAFKA_SSL_CAFILE",
        default=None,
        description="File of the authorities (PEM) that vouch for the brokers; otherwise those of this machine.",
    )
    kafka_ssl_certfile: Path | None = _env(
        "KAFKA_SSL_CERTFILE",
        default=None,
        description="File of the certificate (PEM) that we show to the brokers, if they ask for one.",
    )
    kafka_ssl_keyfile: Path | None = _env(
        "KAFKA_SSL_KEYFILE",
        default=None,
        description="File of that certificate's private key (PEM, without a passphrase).",
    )
    topic_partitions: int = _env(
        "YOUSYNC_TOPIC_PARTITIONS",
        default=4,
        ge=1,
        le=10_000,
        description="Partitions of the data topics; fixed once they hold data.",
    )
    topic_replication: int = _env(
        "YOUSYNC_TOPIC_REPLICATION",
        default=1,
        ge=1,
        le=10,
        description="Replicas of each new topic; 3 on a cluster.",
    )
    session_timeout_seconds: float = _env(
        "YOUSYNC_SESSION_TIMEOUT_SECONDS",
        default=10.0,
        ge=6,
        le=300,
        description="How long a silent member keeps its partitions; most of the pause after a kill.",
    )

    mongodb_uri: SecretStr = _env(
        "MONGODB_URI",
        default=SecretStr("mongodb://127.0.0.1:27017"),
        description="MongoDB connection string.",
    )
    mongodb_database: str = _env(
        "YOUSYNC_MONGODB_DATABASE",
        default="yousync",
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
        description="Database of the read model.",
    )
    dead_letter_max_share: float = _env(
        "YOUSYNC_DEAD_LETTER_MAX_SHARE",
        default=0.5,
        gt=0,
        le=1,
        description="The processor stops when more than this share of its last 1,000 records are dead letters.",
    )
    dead_letter_max_consecutive: int = _env(
        "YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE",
        default=200,
        ge=1,
        description="The processor stops after this many dead letters in a row.",
    )

    processor_loop: Literal["stock", "chunked"] = _env(
        "YOUSYNC_PROCESSOR_LOOP",
        default="stock",
        description="How the processor takes records from Faust: `stock`, each as an event, or `chunked`, up to 500 as "
        "one, which is several times as fast and relies on more of Faust's private parts (ADR 10).",
    )

    api_host: str = _env("YOUSYNC_API_HOST", default="127.0.0.1", description="Address that the API listens on.")
    api_port: int = _env(
        "YOUSYNC_API_PORT", default=8080, ge=0, le=65_535, description="Port of the API; 0 picks a free one."
    )
    api_processes: int = _env(
        "YOUSYNC_API_PROCESSES",
        default=1,
        ge=1,
        le=64,
        description="Processes of the API that share its port; at most one for each core.",
    )
    api_connections: int = _env(
        "YOUSYNC_API_CONNECTIONS",
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Clients of one process of the API at a time, live ones among them; one more is turned away.",
    )
    api_allowed_origins: Annotated[tuple[str, ...], NoDecode] = _env(
        "YOUSYNC_API_ALLOWED_ORIGINS",
        default=(),
        description="Web pages of which origins may read the API, as `https://example.org` separated by commas, or `*` "
        "for all; the API's own pages always may.",
    )
    admin_host: str = _env(
        "YOUSYNC_ADMIN_HOST",
        default="127.0.0.1",
        description="Address of each service's admin server (`/livez`, `/readyz`, `/metrics`); keep it private.",
    )
    admin_port: int = _env(
        "YOUSYNC_ADMIN_PORT",
        default=9090,
        ge=0,
        le=65_535,
        description="Port of each service's admin server; 0 picks a free one.",
    )

    simulator_host: str = _env(
        "YOUSYNC_SIMULATOR_HOST", default="127.0.0.1", description="Address that the simulator listens on."
    )
    simulator_port: int = _env(
        "YOUSYNC_SIMULATOR_PORT",
        default=8090,
        ge=0,
        le=65_535,
        description="Port of the simulator; 0 picks a free one.",
    )
    simulator_catalogue: Path | None = _env(
        "YOUSYNC_SIMULATOR_CATALOGUE",
        default=None,
        description="Videos for the simulator to publish, JSON lines (`.jsonl` or `.jsonl.gz`), in place of "
        "generated ones.",
    )
    simulator_rate: float = _env(
        "YOUSYNC_SIMULATOR_RATE",
        default=5.0,
        gt=0,
        le=100,
        description="Videos that the simulator publishes a second.",
    )
    simulator_backlog: int = _env(
        "YOUSYNC_SIMULATOR_BACKLOG",
        default=200,
        ge=0,
        le=1_000_000,
        description="Generated videos that the simulator has published, over the last days, before it starts.",
    )
    simulator_seed: int = _env(
        "YOUSYNC_SIMULATOR_SEED",
        default=1,
        ge=0,
        description="Seed of the generated videos and of random faults.",
    )
    simulator_indexing_delay_seconds: float = _env(
        "YOUSYNC_SIMULATOR_INDEXING_DELAY_SECONDS",
        default=600.0,
        ge=0,
        le=86_400,
        description="Median time until a published video can be searched (log-normal).",
    )
    simulator_max_indexing_delay_seconds: float = _env(
        "YOUSYNC_SIMULATOR_MAX_INDEXING_DELAY_SECONDS",
        default=21_600.0,
        ge=0,
        le=604_800,
        description="The longest time until a published video can be searched.",
    )
    simulator_search_calls_per_day: int = _env(
        "YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY",
        default=100,
        ge=0,
        description="Search calls that the simulator grants a key a Pacific day.",
    )
    simulator_units_per_day: int = _env(
        "YOUSYNC_SIMULATOR_UNITS_PER_DAY",
        default=10_000,
        ge=0,
        description="Units that the simulator grants a key for all other calls a Pacific day.",
    )
    simulator_faults: str = _env(
        "YOUSYNC_SIMULATOR_FAULTS",
        default="",
        description="Faults that the simulator shows from the start, as `name=probability` separated by commas; "
        "a wrong name lists them all.",
    )

    home: Path = _env(
        "YOUSYNC_HOME",
        default=Path(".yousync"),
        description="Folder for state, logs and the data of `yousync up`.",
    )
    mongod: Path | None = _env(
        "YOUSYNC_MONGOD",
        default=None,
        description="The mongod program for `yousync up`; otherwise one is found.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _env(
        "YOUSYNC_LOG_LEVEL",
        default="info",
        description="Least severe log line shown: debug, info, warning or error.",
    )
    log_format: Literal["auto", "json", "console"] = _env(
        "YOUSYNC_LOG_FORMAT",
        default="auto",
        description="`json`, `console`, or `auto`: console on a terminal, JSON elsewhere.",
    )

    @field_validator("youtube_api_key")
    @classmethod
    def _check_keys(cls, given: SecretStr | None) -> SecretStr | None:
        for position, key in enumerate(_parts_of(given), 1):
            if not re.fullmatch(r"[!-~]+", key):
                raise ValueError(f"key {position} holds a character that no key has, a space or a letter beyond ASCII")
        return given

    @field_validator("queries", mode="before")
    @classmethod
    def _split_queries(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part for part in _QUERY_SEPARATOR.split(value) if part.strip())

    @field_validator("queries")
    @classmethod
    def _normalise_queries(cls, queries: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(normal_query(query) for query in queries))

    @field_validator("api_allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return tuple(part for part in re.split(r"[\s,;]+", value) if part) if isinstance(value, str) else value

    @field_validator("api_allowed_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin, https://HOST or https://HOST:PORT in small letters")
        if ANY_ORIGIN in origins and len(origins) > 1:
            raise ValueError("`*` allows every origin: name it alone")
        return origins

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower_level(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("mongodb_uri")
    @classmethod
    def _check_mongodb_uri(cls, uri: SecretStr) -> SecretStr:
        match = _MONGODB_URI.fullmatch(uri.get_secret_value())
        ports = re.findall(r":(\d+)(?=,|$)", match["hosts"]) if match else ["none"]
        if not all(port.isdigit() and 1 <= int(port) <= 65_535 for port in ports):
            raise ValueError(
                "not a MongoDB connection string, mongodb://USER:PASSWORD@HOST:PORT/?NAME=VALUE "
                "(or mongodb+srv://…; in user and password, special characters must be percent-encoded)"
            )
        return uri

    @model_validator(mode="after")
    def _check_kafka_security(self) -> Self:
        faults = _kafka_security_faults(self)
        if faults:
            raise ValueError("\n".join(faults))
        return self


def _kafka_security_faults(settings: Settings) -> list[str]:
    """What contradicts among the settings of the brokers' security; each fault names its setting and the remedy.

    An explicit PLAINTEXT is taken at its word, whatever else is set: `yousync up` runs brokers of its own beside a
    `.env` made for others.
    """
    protocol = settings.kafka_security_protocol
    if protocol == "PLAINTEXT" and "kafka_security_protocol" in settings.model_fields_set:
        return []
    has_user, has_tls = protocol.startswith("SASL"), protocol.endswith("SSL")
    of_a_user = {"kafka_sasl_username", "kafka_sasl_password"}
    of_tls = {"kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"}
    given = {field for field in (of_a_user | of_tls) if getattr(settings, field) is not None}
    useless = given & (set() if has_user else of_a_user) | given & (set() if has_tls else of_tls)
    faults = [
        f"{environment_name(field)}: has no use with KAFKA_SECURITY_PROTOCOL {protocol}: set that to "
        f"{'SASL_SSL' if field in of_a_user or has_user else 'SSL or SASL_SSL'}, or leave this out"
        for field in sorted(useless)
    ]
    if has_user:
        faults += [
            f"{environment_name(field)}: is needed with KAFKA_SECURITY_PROTOCOL {protocol}"
            for field in sorted(of_a_user - given)
        ]
    if has_tls and ("kafka_ssl_certfile" in given) != ("kafka_ssl_keyfile" in given):
        there, missing = ("CERTFILE", "KEYFILE") if "kafka_ssl_certfile" in given else ("KEYFILE", "CERTFILE")
        faults.append(f"KAFKA_SSL_{missing}: is needed with KAFKA_SSL_{there}: a certificate and its key go together")
    return faults


def mongodb_refusal(code: int | None, database: str) -> str | None:
    """What to mend when MongoDB answers with this error code; None when it is no refusal."""
    if code == _AUTHENTICATION_FAILED:
        return "MONGODB_URI: MongoDB refuses this user or its password (is authSource its database?)"
    if code == _UNAUTHORIZED:
        return f"MONGODB_URI: MongoDB lets this user not do that in the database {database}: deploy/mongodb/users.json"
    return None


def normal_query(text: str) -> str:
    """A query in the form in which it is followed: without space around it, and with one space between words.

    Raises:
        ValueError: it is empty, longer than `MAX_QUERY_CHARACTERS`, no text in UTF-8, or more than one query.
    """
    if _QUERY_SEPARATOR.search(text.strip()):
        raise ValueError(f"{_beginning(text)} is more than one query: newlines and `;` separate queries")
    query = " ".join(text.split())
    if not query:
        raise ValueError(f"a query must have words (`{ALL_VIDEOS}` is a search without words)")
    if any("\ud800" <= character <= "\udfff" for character in query):
        raise ValueError(f"the query {_beginning(query)} is not text in UTF-8")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValueError(f"the query {_beginning(query)} is longer than {MAX_QUERY_CHARACTERS} characters")
    return query


def _beginning(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` (by field name) go before the environment.

    Raises:
        SettingsError: one or more settings are wrong; all of them are listed.
    """
    try:
        return Settings(**{environment_name(field): value for field, value in overrides.items()})
    except ValidationError as error:
        raise SettingsError("\n".join(_fault(fault) for fault in error.errors())) from None


def require_for_polling(settings: Settings) -> tuple[str, ...]:
    """Queries to follow.

    Raises:
        SettingsError: a key or the queries are missing; both are named at once.
    """
    faults = []
    if not youtube_keys(settings):
        faults.append("YOUTUBE_API_KEY: the producer needs a key (or run `yousync up`, which brings a simulator)")
    if not settings.queries:
        faults.append("YOUSYNC_QUERIES: name at least one query to follow, for example YOUSYNC_QUERIES='tea;coffee'")
    if faults:
        raise SettingsError("\n".join(faults))
    return settings.queries


def youtube_keys(settings: Settings) -> tuple[str, ...]:
    """The keys to call YouTube with, in the order given."""
    return _parts_of(settings.youtube_api_key)


def _parts_of(keys: SecretStr | None) -> tuple[str, ...]:
    given = keys.get_secret_value() if keys else ""
    return tuple(dict.fromkeys(key for part in re.split(r"[,;\n]", given) if (key := part.strip())))


def environment_name(field: str) -> str:
    """The variable that sets a field, in its current spelling."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else field


def shown_value(settings: Settings, field: str) -> str:
    """A setting's value as it may be shown to anybody: secrets masked."""
    value = getattr(settings, field)
    if field == "mongodb_uri":
        uri = re.sub(r"//[^/?]*@", "//***@", value.get_secret_value())
        return re.sub(r"(?i)(password|authMechanismProperties)=[^&;]*", r"\1=***", uri)
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, tuple):
        return ";".join(value)
    return "" if value is None else str(value)


def secret_values(settings: Settings) -> tuple[str, ...]:
    """What must never be logged: the keys, and the passwords, that in the connection string in both spellings."""
    secrets = list(youtube_keys(settings))
    if settings.kafka_sasl_password:
        secrets.append(settings.kafka_sasl_password.get_secret_value())
    uri = _MONGODB_URI.fullmatch(settings.mongodb_uri.get_secret_value())
    if uri and uri["password"]:
        secrets += [uri["password"], unquote(uri["password"])]
    return tuple(secrets)


def _fault(error: Any) -> str:
    """A line for a fault, without the offending value where it may be secret; what is at odds brings its own lines."""
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    name = str(error["loc"][0])
    field = name if name in Settings.model_fields else _field_of(name)
    variable = environment_name(field)
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "" if field in _SECRET else f" (it is {error['input']!r})"
    return f"{variable}: {message}{given}"


def _field_of(variable: str) -> str:
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        if isinstance(alias, AliasChoices) and variable in alias.choices:
            return field
    raise KeyError(variable)
