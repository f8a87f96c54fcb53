"""Whether the installed Faust is the one that the chunked loop was built against and tested with.

The loop overrides and relies on functions that are nobody's promise. Their sources are compared by hash with those
of the version that passed the tests: with any other the stock loop is used, and the log and a test name what changed.
After reading the change, `python -m processors.faust_fingerprint` prints the new table; then the fault tests decide.
"""

import hashlib
import importlib
import inspect
from functools import reduce
from importlib import resources
from typing import Any, Final

EXPECTED: Final[dict[str, str]] = {
    "faust.transport.consumer:Consumer.getmany": "4b168d84882a70d6",
    "faust.transport.consumer:Consumer._wait_next_records": "6218e1969a636b3f",
    "faust.transport.consumer:Consumer._drain_messages": "44a2500309e83c63",
    "faust.transport.consumer:Consumer.ack": "5fcf41cf45153475",
    "faust.transport.consumer:Consumer._add_gap": "4df2573ded7c1c2c",
    "faust.transport.consumer:Consumer.perform_seek": "0e8c130ff4b0afd8",
    "faust.transport.consumer:Consumer.seek": "b86a9fe05f956b30",
    "faust.transport.consumer:Consumer.stop_flow": "cf7e875a2b0d40e8",
    "faust.transport.consumer:Consumer.resume_flow": "db59630f25b5819b",
    "faust.transport.consumer:Consumer.pause_partitions": "27a1c94bdacd54de",
    "faust.transport.consumer:Consumer.resume_partitions": "afe6b7c02a41d63c",
    "faust.transport.consumer:Consumer.on_buffer_full": "c8961679e0bcdce5",
    "faust.transport.consumer:Consumer.on_buffer_drop": "4b57e8a418d5ad9c",
    "faust.transport.consumer:Consumer.on_partitions_revoked": "d04b7ae72c6fc206",
    "faust.transport.consumer:Consumer.on_partitions_assigned": "29ce96596f05a18c",
    "faust.transport.consumer:Consumer.wait_empty": "e4662fe24f094819",
    "faust.transport.consumer:Consumer._wait_for_ack": "d9c9337d4af88e54",
    "faust.transport.consumer:Consumer._clean_unacked_messages": "11be2587e71c9162",
    "faust.transport.consumer:Consumer.commit": "a354437baaa08bf8",
    "faust.transport.consumer:Consumer.force_commit": "cc094614d22c70fb",
    "faust.transport.consumer:Consumer._commit_tps": "a20e230b05ae8b15",
    "faust.transport.consumer:Consumer._filter_committable_offsets": "dc5e9baf5d994485",
    "faust.transport.consumer:Consumer._commit_offsets": "1a69799041188441",
    "faust.transport.consumer:Consumer._filter_tps_with_pending_acks": "f6f9239774234e7e",
    "faust.transport.consumer:Consumer._should_commit": "5ce941793947ad42",
    "faust.transport.consumer:Consumer._new_offset": "1d2c7ea89a7ad4f1",
    "faust.transport.consumer:Consumer._reset_state": "488b46f5c7f1d0b0",
    "faust.transport.consumer:Fetcher.on_stop": "21f3bae9b455762b",
    "faust.transport.consumer:Fetcher._fetcher.fun": "68f894f0b577d810",
    "faust.transport.consumer:ThreadDelegateConsumer._getmany": "f9d47aa9010b5ff2",
    "faust.transport.consumer:ensure_TP": "62a2822ff531792e",
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener": "f79b8fc6cb9d9bdc",
    "faust.transport.drivers.aiokafka:Consumer._to_message": "7c24f6511b2fcef7",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": "26fc5fc9f3b667e1",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1455a",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.seek_to_committed": "775ab0adc4b052ab",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.commit": "d31c8558ba25310c",
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._commit": "932852ce7a23f658",
    "faust.transport.drivers.aiokafka:Transport.__init__": "a06006f6ae8ed716",
    "faust.types.tuples:Message": "2736ac0828a3d0c4",
    "faust.types.tuples:ConsumerMessage": "45d670b6a8ac4bd0",
    "faust.transport.utils:DefaultSchedulingStrategy": "e06c0637048d36cc",
    "faust.transport.utils:TopicBuffer": "988b4d63c9254d45",
    "faust.transport.conductor:ConductorCompiler": "837cf521368c1ee4",
    "faust.transport.conductor:Conductor._compile_message_handler": "9fbc0538097aa4ec",
    "faust.transport.conductor:Conductor.acks_enabled_for": "77ff8a731d3085ed",
    "faust.streams:Stream.noack_take": "f2cc2dbfc162d200",
    "faust.streams:Stream.ack": "32d7171a89b0931d",
    "faust.streams:Stream._c_aiter": "fa44582a5882e9df",
    "faust.streams:Stream._py_aiter": "3a48ee257a65435b",
    "faust.events:Event.ack": "2d29a6eda87c4ce5",
    "faust.channels:Channel.queue.fget": "549dd774f3e314a7",
    "faust.topics:Topic.decode": "c5cf3eebd64fcf3b",
    "faust.topics:Topic._compile_decode": "6474178f8c211c05",
    "faust.app.base:App._stop_consumer": "55854a5de12c3f52",
    "faust.app.base:App._consumer_wait_empty": "6bc313c48c064b16",
    "faust.app.base:App.on_rebalance_start": "5c1e23de30674082",
    "faust.app.base:App.on_rebalance_end": "b7ff69e1e3772f30",
    "faust.app.base:App._on_partitions_revoked": "d5c895bbe57dc73a",
    "faust.app.base:App._on_partitions_assigned": "de932b7927db85b3",
    "faust.app.base:App.FlowControlQueue": "9451c49351ae3667",
    "faust.tables.recovery:Recovery._resume_streams": "d986a6710c1aca98",
    "faust.tables.recovery:Recovery.on_recovery_completed": "6ef567acf072e46d",
    "faust.transport._cython:conductor.pyx": "dde1f974267881cf",
    "faust._cython:streams.pyx": "0041622f4a251188",
    "mode.utils.queues:FlowControlEvent": "577a0febadfdb170",
    "mode.utils.queues:FlowControlQueue": "9077538cddce1f5d",
    "mode.utils.queues:ThrowableQueue": "84c6befb554958ef",
    "mode.services:Service.wait_first": "feade6a31f8a6789",
}
"""The first 16 hex digits of the SHA-256 of each source: `module:function`, or `package:file` where it is compiled."""


def changed_sources() -> list[str]:
    """Names of those that are not as expected, or are gone."""
    return [name for name, digest in EXPECTED.items() if _digest(name) != digest]


def _digest(name: str) -> str | None:
    module, _, path = name.partition(":")
    try:
        if path.endswith(".pyx"):
            source = resources.files(module).joinpath(path).read_text()
        else:
            source = _source(reduce(getattr, path.split("."), importlib.import_module(module)))
    except (AttributeError, ImportError, OSError, TypeError):
        return None
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _source(found: Any) -> str:
    """A function's source, or that of all methods of a class (to find a class itself, a whole module is parsed)."""
    functions = [one for one in vars(found).values() if inspect.isfunction(one)] if inspect.isclass(found) else [found]
    return "".join(inspect.getsource(one) for one in functions)


if __name__ == "__main__":
    for _name in EXPECTED:
        print(f'    "{_name}": "{_digest(_name)}",')  # noqa: T201
