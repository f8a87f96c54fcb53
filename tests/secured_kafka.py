"""A real broker that lets nobody in without TLS, a user and rights, with a certificate authority of its own.

Its users have the names and rights of `deploy/kafka/acls.sh`, which is run as it is: only the program that it calls,
`kafka-acls.sh`, is a stand-in that passes on what it was told, for Kafka's own is not among the broker's jars.
"""

import asyncio
import ipaddress
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ops.kafka_client import running_admin
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import kafka_fault
from yousync.local.kafka import KafkaServer, find_java, format_arguments, kafka_jars, server_properties
from yousync.local.server import free_ports

SCRIPT: Final = Path(__file__).parents[1] / "deploy" / "kafka" / "acls.sh"
ADMIN: Final = "admin"
USERS: Final = ("yousync-producer", "yousync-processor", "yousync-api", "yousync-operator", "ext-team", "nobody")

_TOPIC, _GROUP, _ALLOW = 2, 3, 3
_PATTERNS: Final = {"literal": 3, "prefixed": 4}
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}


class SecuredKafka(KafkaServer):
    """SASL_SSL with SCRAM-SHA-512, and StandardAuthorizer; what no rule allows is refused."""

    def __init__(self, folder: Path) -> None:
        port, controller_port = free_ports(2)
        super().__init__(folder / "kafka", folder / "kafka.log", port, controller_port, kafka_jars(lambda *_: None))
        self.certificates = folder / "certificates"

    def prepare(self) -> None:
        self._folder.mkdir(parents=True)
        make_certificates(self.certificates)
        self._java = find_java()
        properties = server_properties(self.port, self._controller_port, self._folder / "data") + self._security()
        self._properties.write_text(properties)
        users = [f"--add-scram=SCRAM-SHA-512=[name={user},password={password(user)}]" for user in (ADMIN, *USERS)]
        command = [*self._java_command(), *format_arguments("MkU3OEVBNTcwNTJENDM2Qg", self._properties), *users]
        with self.log_file.open("ab") as log:
            subprocess.run(command, stdout=log, stderr=log, check=True)

    def connection(self, user: str, **changes: Any) -> KafkaConnection:
        given = {"username": user, "password": password(user), "cafile": str(self.certificates / "ca.pem")} | changes
        return KafkaConnection(self.address, "SASL_SSL", **given)

    def settings(self, user: str, **changes: str) -> dict[str, str]:
        """The same for a service."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": password(user),
            "KAFKA_SSL_CAFILE": str(self.certificates / "ca.pem"),
            **changes,
        }

    def answers(self) -> bool:
        return asyncio.run(kafka_fault(self.connection(ADMIN))) is None

    def _security(self) -> str:
        listeners = f"SASL_SSL://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}"
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        settings = {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                f'{module} required username="{ADMIN}" password="{password(ADMIN)}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.certificates / "broker.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.certificates / "ca.pem",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{ADMIN};User:ANONYMOUS",  # the controller's own listener, on this machine
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())


def password(user: str) -> str:
    return f"{user}-secret-3141"


def listed_rules(folder: Path) -> list[dict[str, str]]:
    """What the script tells `kafka-acls.sh`, an option each."""
    told, program = folder / "told", folder / "kafka-acls.sh"
    program.write_text(f'#!/bin/sh\nfor word in "$@"; do printf "%s\\t" "$word" >> "{told}"; done; echo >> "{told}"\n')
    program.chmod(0o755)
    environment = {**os.environ, "KAFKA_ACLS": str(program)}
    subprocess.run([SCRIPT, "--bootstrap-server", "kafka:9092"], env=environment, check=True, timeout=60)
    rules = []
    for line in told.read_text().splitlines():
        words = line.rstrip("\t").split("\t")
        assert words[:3] == ["--bootstrap-server", "kafka:9092", "--add"]
        rules.append(dict(zip(words[3::2], words[4::2], strict=True)))
    return rules


async def apply_rules(connection: KafkaConnection, rules: Sequence[Mapping[str, str]]) -> None:
    async with running_admin(connection) as admin:
        answer = await admin._send_to_controller(_CreateAcls([_creation(rule) for rule in rules]))
        assert {code for code, _ in answer.results} == {0}, answer


def _creation(rule: Mapping[str, str]) -> tuple[int, str, int, str, str, int, int]:
    kind, name = (_TOPIC, rule["--topic"]) if "--topic" in rule else (_GROUP, rule["--group"])
    pattern = _PATTERNS[rule["--resource-pattern-type"]]
    return kind, name, pattern, rule["--allow-principal"], "*", _OPERATIONS[rule["--operation"]], _ALLOW


class _CreateAclsResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("results", Array(("error_code", Int16), ("error_message", String("utf-8"))))
    )


class _CreateAclsRequest(RequestStruct):  # type: ignore[misc]  # as above
    API_KEY, API_VERSION = 30, 1
    RESPONSE_TYPE = _CreateAclsResponse
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission", Int8),
            ),
        )
    )


class _CreateAcls(Request[_CreateAclsRequest]):  # type: ignore[misc]  # as above
    API_KEY = 30

    def __init__(self, creations: Sequence[tuple[int, str, int, str, str, int, int]]) -> None:
        self._creations = list(creations)

    def build(self, request_struct_class: type[_CreateAclsRequest]) -> _CreateAclsRequest:
        return request_struct_class(self._creations)


def make_certificates(folder: Path) -> None:
    """`ca.pem`, `broker.pem` (key and chain, for 127.0.0.1) and, signed by nobody of them, `other-ca.pem`."""
    folder.mkdir()
    authority, authority_key = _certificate("test authority", None)
    broker, broker_key = _certificate("127.0.0.1", (authority, authority_key))
    (folder / "ca.pem").write_bytes(_pem(authority))
    (folder / "broker.pem").write_bytes(_key_pem(broker_key) + _pem(broker) + _pem(authority))
    (folder / "other-ca.pem").write_bytes(_pem(_certificate("another authority", None)[0]))


_Signer = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _certificate(name: str, signer: _Signer | None) -> _Signer:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing = (subject, key) if signer is None else (signer[0].subject, signer[1])
    is_authority = signer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signing, hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def yousync(*arguments: str, settings: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the command line, to its end."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "YOUSYNC_HOME": str(folder / "home"), **settings}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "yousync.cli", *arguments]
    return subprocess.run(  # our own
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
