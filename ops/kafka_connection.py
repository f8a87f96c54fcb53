"""How to reach the brokers and who we are there: one value, made from the settings, for every client of Kafka."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from contract.settings import Settings, SettingsError

_ANSWER_MS: Final = 5_000


class KafkaRefusal(SettingsError, KafkaConnectionError):  # type: ignore[misc]  # aiokafka ships no types
    """The brokers answer and refuse us; the message names the setting, or the right that is missing.

    At a start it is a fault of the settings, and ends the process. Whoever has been served before waits as for brokers
    that are away: somebody may be changing a password.
    """

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class KafkaConnection:
    """The brokers' addresses and what they want of a client. Files are read anew by each client that connects."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def options(self) -> dict[str, Any]:
        """What aiokafka's constructors take."""
        return {"bootstrap_servers": self.bootstrap_servers, **self._security()}

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS as this side speaks it: the broker's certificate must be vouched for, and name the broker's host.

        Raises:
            OSError: a file cannot be read, or is not what it should be.
        """
        if not self.security_protocol.endswith("SSL"):
            return None
        context = ssl.create_default_context(cafile=self.cafile)
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile, password=_no_passphrase)
        return context

    async def connect(self, address: str) -> AIOKafkaConnection:
        """One connection to one of the brokers, as far as they let us in.

        Raises:
            KafkaError, OSError, TimeoutError: they are away, or refuse us; clients of aiokafka do not say which.
        """
        host, _, port = address.rpartition(":")
        return await create_conn(host, int(port), request_timeout_ms=_ANSWER_MS, **self._security())

    def _security(self) -> dict[str, Any]:
        options: dict[str, Any] = {"security_protocol": self.security_protocol, "ssl_context": self.ssl_context()}
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options


def kafka_connection(settings: Settings) -> KafkaConnection:
    """The connection of these settings.

    Raises:
        SettingsError: a file that they name cannot be used.
    """
    password = settings.kafka_sasl_password
    connection = KafkaConnection(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username,
        password=None if password is None else password.get_secret_value(),
        cafile=_name(settings.kafka_ssl_cafile),
        certfile=_name(settings.kafka_ssl_certfile),
        keyfile=_name(settings.kafka_ssl_keyfile),
    )
    if connection.security_protocol.endswith("SSL"):
        faults = _file_faults(connection)
        if faults:
            raise SettingsError("\n".join(faults))
    return connection


def _name(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _file_faults(connection: KafkaConnection) -> list[str]:
    faults = []
    try:
        ssl.create_default_context(cafile=connection.cafile)
    except OSError as error:
        faults.append(f"KAFKA_SSL_CAFILE: {_file_fault(connection.cafile, error, 'certificates')}")
    if connection.certfile is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
                connection.certfile, connection.keyfile, password=_no_passphrase
            )
        except OSError as error:
            files = f"{connection.certfile} and KAFKA_SSL_KEYFILE {connection.keyfile}"
            faults.append(f"KAFKA_SSL_CERTFILE: {_file_fault(files, error, 'a certificate and its key')}")
    return faults


def _file_fault(file: object, error: OSError, wanted: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{file} cannot be used: {wanted} in PEM (BEGIN …, END …) are wanted ({error.reason or error})"
    return f"{file} cannot be read: {error.strerror or error}"


def _no_passphrase() -> str:
    """Without this OpenSSL would ask on the terminal."""
    return ""


def refusal(error: BaseException, connection: KafkaConnection) -> str | None:
    """What to mend, when the error says that the brokers refuse us; None for brokers that are away.

    A broker that wants TLS closes the connection of a client without it, and the other way round: nothing certain.
    """
    told = (_refusal(one, connection) for one in _with_causes(error))
    return next((one for one in told if one is not None), None)


def _refusal(error: BaseException, connection: KafkaConnection) -> str | None:
    if isinstance(error, ssl.SSLError):
        return _tls_refusal(error)
    who = connection.username or "an anonymous client"
    by_type: dict[type[KafkaError], str] = {
        SaslAuthenticationFailed: "KAFKA_SASL_PASSWORD: Kafka refuses "
        f"{who} with this password ({connection.sasl_mechanism})",
        UnsupportedSaslMechanismError: f"KAFKA_SASL_MECHANISM: Kafka does not take {connection.sasl_mechanism}",
        IllegalSaslStateError: "KAFKA_SECURITY_PROTOCOL: Kafka asks for no user at this port, "
        f"and this is {connection.security_protocol}",
        TopicAuthorizationFailedError: f"KAFKA_SASL_USERNAME: {who} may not do that with topic {_names(error)}: "
        "grant it READ to read, WRITE to write",
        GroupAuthorizationFailedError: f"KAFKA_SASL_USERNAME: {who} may not use the consumer group {_names(error)}: "
        "grant it READ",
        ClusterAuthorizationFailedError: f"KAFKA_SASL_USERNAME: {who} may not do that with the cluster",
    }
    return next((told for kind, told in by_type.items() if isinstance(error, kind)), None)


def _tls_refusal(error: ssl.SSLError) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"KAFKA_SSL_CAFILE: the broker's certificate is not accepted: {error.verify_message}"
    if "CERTIFICATE" in (error.reason or ""):
        return f"KAFKA_SSL_CERTFILE: Kafka does not accept our certificate: {error.reason}"
    return None


class WriteRights:
    """To which topics the brokers have let this process write.

    A refusal of another one is a right that is missing; of one of these, somebody may be changing rights.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection: Final = connection
        self._granted: set[str] = set()

    def grant(self, topics: set[str]) -> None:
        """The brokers have taken records of these topics."""
        self._granted |= topics

    def taken_back(self, error: BaseException, topics: set[str]) -> str | None:
        """What the brokers refuse of topics that they let us write to before; None if the error is no refusal.

        Raises:
            KafkaRefusal: they have never let us write to one of the topics.
        """
        refused = refusal(error, self._connection)
        if refused is not None and not topics <= self._granted:
            raise KafkaRefusal(refused) from error
        return refused


async def find_refusal(connection: KafkaConnection) -> KafkaRefusal | None:
    """Whether a broker answers and refuses us, which clients of aiokafka tell their log only.

    In the clear and without a user there is nothing to refuse.
    """
    if connection.security_protocol == "PLAINTEXT":
        return None
    for address in connection.bootstrap_servers.split(","):
        try:
            connected = await connection.connect(address)
        except (KafkaError, OSError, TimeoutError) as error:
            told = refusal(error, connection)
            if told is not None:
                return KafkaRefusal(told)
        else:
            connected.close()
    return None


def _names(error: BaseException) -> str:
    """The topics or the group that a refusal is about, as far as the client says."""
    named = [value for value in error.args if value is not None]
    found = [", ".join(sorted(map(str, one))) if isinstance(one, set | frozenset | list) else str(one) for one in named]
    return ", ".join(found) or "(Kafka does not say which)"


def _with_causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found
