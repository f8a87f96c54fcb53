"""The private server: livez, readyz and metrics, over HTTP."""

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from contract.settings import SettingsError
from ops.admin_server import admin_server
from ops.health import Health
from ops.metrics import ApiMetrics, ProcessorMetrics, ProducerMetrics, process_registry


async def _get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_it_answers_200_or_503_with_the_faults_named() -> None:
    fault: str | None = None

    async def check() -> str | None:
        return fault

    health = Health()
    health.add_readiness("kafka", check)
    async with admin_server(health, CollectorRegistry(), "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}"
        assert await _get(f"{url}/readyz") == (200, '{"ok": true, "faults": {}}')
        fault = "no broker answers"

        assert await _get(f"{url}/readyz") == (503, '{"ok": false, "faults": {"kafka": "no broker answers"}}')
        assert await _get(f"{url}/livez") == (200, '{"ok": true, "faults": {}}')


async def test_metrics_are_the_registrys_and_of_the_process() -> None:
    registry = process_registry()
    ApiMetrics(registry).requests.labels("/v1/videos", "GET", "200").inc()
    async with admin_server(Health(), registry, "127.0.0.1", 0) as port:
        status, text = await _get(f"http://127.0.0.1:{port}/metrics")

    assert status == 200
    assert 'yousync_http_requests_total{method="GET",route="/v1/videos",status="200"} 1.0' in text
    assert "process_resident_memory_bytes" in text


async def test_a_port_in_use_is_one_sentence_and_the_port_is_free_afterwards() -> None:
    async with admin_server(Health(), CollectorRegistry(), "127.0.0.1", 0) as port:
        with pytest.raises(SettingsError, match=f"^YOUSYNC_ADMIN_PORT: 127.0.0.1:{port} is taken by another program: "):
            async with admin_server(Health(), CollectorRegistry(), "127.0.0.1", port):
                pass
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_every_metric_is_ours_by_name_and_described() -> None:
    registry = CollectorRegistry()
    for metrics in (ProducerMetrics, ProcessorMetrics, ApiMetrics):
        metrics(registry)

    families = list(registry.collect())

    assert len(families) > 10
    for family in families:
        assert family.name.startswith("yousync_")
        assert family.documentation.endswith(".")
