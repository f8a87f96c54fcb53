"""The Faust application: its settings and the table. Creating it connects to nothing."""

from typing import Any, Final, cast

import faust
from mode.supervisors import CrashingSupervisor

from contract.read_model import PROJECTION_VERSION
from contract.settings import Settings
from contract.topics import KNOWN_VIDEOS_TABLE, PROJECTOR_GROUP, changelog_config, projector_client_id
from ops.kafka_connection import KafkaConnection, kafka_connection
from ops.logging import get_logger
from ops.record_reader import tolerate_header_names
from processors import table_store
from processors.chunked_consumer import ChunkedTransport
from processors.consumer import SteadyTransport
from processors.faust_fingerprint import changed_sources

log = get_logger(__name__)

_MIB: Final = 1 << 20
_HEARTBEATS_PER_SESSION: Final = 4
_MAX_POLL_SECONDS: Final = 86_400


def create_app(settings: Settings) -> faust.App:
    """The worker of this process; the state of its table goes under `<home>/processor`."""
    table_store.register()
    tolerate_header_names()
    kafka = kafka_connection(settings)
    app = faust.App(
        PROJECTOR_GROUP,
        broker=";".join(f"kafka://{server}" for server in kafka.bootstrap_servers.split(",")),
        broker_credentials=_credentials(kafka),
        broker_client_id=projector_client_id(PROJECTION_VERSION),
        store="rocksdb://",  # of the app: a store named by the table is silently ignored (kafka-faust, 2.6)
        datadir=str(settings.home / "processor"),
        key_serializer="raw",
        value_serializer="raw",
        # An exception that leaves the agent must end the process: any other supervisor loses the batch.
        agent_supervisor=CrashingSupervisor,
        stream_wait_empty=True,
        topic_partitions=settings.topic_partitions,
        topic_allow_declare=False,  # `yousync topics` declares them
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.session_timeout_seconds / _HEARTBEATS_PER_SESSION,
        # Waiting for MongoDB is no reason to leave the group: heartbeats say that the worker lives.
        broker_max_poll_interval=_MAX_POLL_SECONDS,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        cython_optimizations=True,
    )
    transport = ChunkedTransport if _chunked(settings) else SteadyTransport
    app.transport = transport(app.conf.broker_consumer, app)
    cast("Any", app).kafka = kafka  # the table's store asks, too
    return app


def _credentials(kafka: KafkaConnection) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """The connection's security in Faust's words; it hands them to aiokafka as they are."""
    context = kafka.ssl_context()
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=kafka.sasl_mechanism, username=kafka.username, password=kafka.password, ssl_context=context
        )
    return None if context is None else faust.SSLCredentials(context)


def _chunked(settings: Settings) -> bool:
    """Whether the chunked loop is wanted, and the installed Faust the one that it was tested with."""
    if settings.processor_loop != "chunked":
        return False
    changed = changed_sources()
    if changed:
        log.warning("the stock loop is used: this is not the Faust that the chunked one knows", changed=changed)
    return not changed


def known_videos_table(app: faust.App, partitions: int) -> Any:
    """The deduplication table; its changelog is compacted and has no expiry."""
    return app.Table(
        KNOWN_VIDEOS_TABLE,
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        extra_topic_configs=changelog_config(),
        options={"block_cache_size": 64 * _MIB, "write_buffer_size": 16 * _MIB},
    )
