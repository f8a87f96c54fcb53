"""The baseline of `bench_live_path`: a stock Faust worker that takes, looks up, sets and acknowledges; no more.

No decoding, no MongoDB, no events. Its settings are those of `processors/app.py`, written out here so that the
baseline stays what it is when ours changes; added is what Faust's own table write needs to be quick (a linger and
larger batches: without them it takes twice the time). It counts what it does as the processor does, so that both
are read in the same way.
"""

import asyncio
import signal
import weakref
from typing import Any, Final

import faust
import uvloop
from faust.streams import _current_event
from mode.supervisors import CrashingSupervisor

from contract.settings import Settings, load_settings
from contract.topics import RAW
from ops.admin_server import admin_server
from ops.health import Health
from ops.logging import configure_logging
from ops.metrics import ProcessorMetrics, process_registry

GROUP: Final = "bench-bare-faust-loop"
TABLE: Final = "seen"
MIB: Final = 1 << 20

# As long as an entry of the processor's table.
ENTRY: Final = b'[{"search":["0123456789abcdef01234567",1780000000000]},["tea"],1780000000000,1780000000000,"%s"]' % (
    b"00000000-0000-0000-0000-000000000000"
)


def create_app(settings: Settings) -> Any:
    return faust.App(
        GROUP,
        broker=f"kafka://{settings.kafka_bootstrap_servers}",
        store="rocksdb://",
        datadir=str(settings.home / "bare"),
        key_serializer="raw",
        value_serializer="raw",
        agent_supervisor=CrashingSupervisor,
        stream_wait_empty=True,
        topic_partitions=settings.topic_partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.session_timeout_seconds / 4,
        broker_max_poll_interval=86_400,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        producer_linger=0.01,
        producer_max_batch_size=256 << 10,
        web_enabled=False,
        cython_optimizations=True,
    )


def register_agent(app: Any, metrics: ProcessorMetrics, partitions: int) -> None:
    raw = app.topic(RAW, key_type=bytes, value_type=bytes)
    seen = app.Table(
        TABLE,
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        options={"block_cache_size": 64 * MIB, "write_buffer_size": 16 * MIB},
    )

    async def take_and_set(stream: Any) -> None:
        async for events in stream.noack_take(500, within=0.05):
            new = 0
            for event in events:
                # A batch has no current event, and the table finds its partition by it.
                _current_event.set(weakref.ref(event))
                if event.key not in seen:
                    seen[event.key] = ENTRY
                    new += 1
            for event in events:
                await stream.ack(event)
            metrics.records.labels("applied").inc(new)
            metrics.records.labels("duplicate").inc(len(events) - new)

    app.agent(raw, name="take_and_set")(take_and_set)


async def run(settings: Settings) -> None:
    registry, stopping = process_registry(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    (settings.home / "bare").mkdir(parents=True, exist_ok=True)
    app = create_app(settings)
    register_agent(app, ProcessorMetrics(registry), settings.topic_partitions)
    async with admin_server(Health(), registry, settings.admin_host, settings.admin_port):
        await app.start()
        await stopping.wait()
        await app.stop()


if __name__ == "__main__":
    configure_logging("info", "json", service="bare-faust-loop")
    uvloop.run(run(load_settings()))
