"""The Kubernetes overlays agree with Kubernetes' schemas, with one another and with the code; no cluster is needed."""

import copy
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema  # type: ignore[import-untyped]  # they ship no types
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from prometheus_client import CollectorRegistry

from contract.settings import Settings, SettingsError, environment_name, load_settings, require_for_polling
from contract.topics import PROJECTOR_GROUP, RAW
from ops.admin_server import create_admin_app
from ops.health import Health
from ops.metrics import ApiMetrics, ProcessorMetrics, ProducerMetrics
from processors.service import STOP_SECONDS as PROCESSOR_STOP_SECONDS
from producer.service import STOP_SECONDS as PRODUCER_STOP_SECONDS
from query_api.server import CLOSING_SECONDS, FINISH_SECONDS
from tests.programs import required_program
from yousync.cli import app as command_line

ROOT: Final = Path(__file__).parents[2]
SCHEMAS: Final = ROOT / "tests/kubernetes_schemas"
OVERLAYS: Final = ("small", "production")
OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes: what the overlays are checked against."""

STOP_SECONDS: Final = {
    "producer": PRODUCER_STOP_SECONDS,
    "processor": PROCESSOR_STOP_SECONDS,
    "api": CLOSING_SECONDS + 2 * FINISH_SECONDS + 3,
}
SERVICES: Final = set(STOP_SECONDS)
WITH_STORE: Final = {"processor", "api", "replay"}
VARIABLES: Final = {environment_name(field): field for field in Settings.model_fields}
SECRETS: Final = {
    environment_name(field) for field, info in Settings.model_fields.items() if "SecretStr" in str(info.annotation)
}
SECRETS_GIVEN: Final = {"yousync-youtube", "yousync-kafka", "yousync-mongodb"}

Object = dict[str, Any]


class Workload(NamedTuple):
    """What makes pods, whatever its kind: each of ours has one container, named as the pod's label says."""

    owner: Object
    pod: Object
    labels: dict[str, str]
    environment: dict[str, str | None]
    """None: by reference to a secret."""

    @property
    def name(self) -> str:
        return self.labels["app.kubernetes.io/name"]

    @property
    def container(self) -> Object:
        container: Object = self.pod["containers"][0]
        return container

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}


class Cluster:
    """The objects of one overlay, by kind."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects: Final = list(objects)
        self.workloads: Final = {one.name: one for one in map(self._workload, self.objects) if one}

    def of(self, kind: str) -> dict[str, Object]:
        return {one["metadata"]["name"]: one for one in self.objects if one["kind"] == kind}

    def selected(self, selector: Mapping[str, Any]) -> set[str]:
        return {name for name, workload in self.workloads.items() if matches(selector, workload.labels)}

    def target(self, scaled: Object) -> Workload | None:
        wanted = scaled["spec"]["scaleTargetRef"]
        for workload in self.workloads.values():
            if (workload.owner["kind"], workload.owner["metadata"]["name"]) == (wanted["kind"], wanted["name"]):
                return workload
        return None

    def replicas(self, workload: Workload) -> tuple[int, int]:
        """The fewest and the most."""
        for scaled in self.of("ScaledObject").values():
            if self.target(scaled) == workload:
                return scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]
        count: int = workload.owner["spec"].get("replicas", 1)
        return count, count

    def _workload(self, owner: Object) -> Workload | None:
        spec = owner.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is None:
            return None
        pod = template["spec"]
        return Workload(owner, pod, template["metadata"]["labels"], self._environment(pod["containers"][0]))

    def _environment(self, container: Object) -> dict[str, str | None]:
        given: dict[str, str | None] = {}
        for source in container.get("envFrom", []):
            given |= self.of("ConfigMap").get(source["configMapRef"]["name"], {"data": {}})["data"]
        return given | {one["name"]: one.get("value") for one in container.get("env", [])}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


class Change(NamedTuple):
    """Another value at a path (dots between names, numbers in lists) of the objects of a kind whose name has `name`."""

    kind: str
    name: str
    path: str
    value: Any

    def made(self, objects: Iterable[Object]) -> list[Object]:
        copied = copy.deepcopy(list(objects))
        *way, last = [int(step) if step.isdigit() else step for step in self.path.split(".")]
        for one in copied:
            if one["kind"] == self.kind and self.name in one["metadata"]["name"]:
                place: Any = one
                for step in way:
                    place = place[step]
                place[last] = self.value
        return copied


@cache
def objects_of(overlay: str) -> tuple[Object, ...]:
    kustomize = shutil.which("kustomize")
    build = [kustomize, "build"] if kustomize else [required_program("kubectl", "kubectl or kustomize"), "kustomize"]
    built = subprocess.run(
        [*build, ROOT / "deploy/kubernetes/overlays" / overlay], check=True, capture_output=True, text=True, timeout=60
    )
    return tuple(yaml.safe_load_all(built.stdout))


# Schemas.


@pytest.mark.parametrize(("overlay", "version"), [("small", OLDEST), ("production", OLDEST), ("production", NEWEST)])
def test_kubernetes_accepts_every_object(overlay: str, version: str) -> None:
    assert list(schema_faults(objects_of(overlay), version)) == []


def schema_faults(objects: Iterable[Object], version: str) -> Iterator[str]:
    for one in objects:
        group, _, rest = one["apiVersion"].rpartition("/")
        vendored = SCHEMAS / f"{group}_{rest}_{one['kind']}.json"
        try:
            if vendored.exists():
                jsonschema.validate(one, closed(json.loads(vendored.read_text())))
            else:
                kubernetes_validate.validate(one, version, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{one['kind']} {one['metadata']['name']}: {error.message}"


def closed(schema: Any) -> Any:
    """The same schema without room for fields that it does not name, which a cluster would drop in silence."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {name: closed(one) for name, one in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and schema.get("type") == "object":
        inside["additionalProperties"] = False
    return inside


@pytest.mark.parametrize(
    "change",
    [
        Change("Deployment", "", "spec.template.spec.terminationGracePeriod", 30),
        Change("StatefulSet", "", "spec.podManagementPolicy", 1),
        Change("ScaledObject", "", "spec.maxReplicas", 3),
        Change("ScaledObject", "", "spec.triggers", [{"type": "kafka"}]),
        Change("TriggerAuthentication", "", "spec.secretTargetRef", [{"parameter": "ca", "name": "yousync-kafka"}]),
        Change("PodMonitor", "", "spec.podMetricsEndpoints", [{"interval": "soon"}]),
        Change("Namespace", "", "kind", "Namespaces"),
    ],
)
def test_an_object_that_kubernetes_would_refuse_is_noticed(change: Change) -> None:
    objects = [one for one in objects_of("production") if one["kind"] == change.kind]

    assert list(schema_faults(change.made(objects), NEWEST))


# Our own rules.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_our_rules(overlay: str, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults_of(objects_of(overlay), ca_file, monkeypatch) == []


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """Stands for the certificate that the production overlay mounts."""
    path = tmp_path / "ca.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=test", "-keyout", tmp_path / "ca.key", "-out", path),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path


def faults_of(objects: Iterable[Object], ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every disagreement, one a line."""
    cluster = Cluster(objects)
    if set(cluster.workloads) != SERVICES | {"topics", "replay"}:
        return [f"workloads are {sorted(cluster.workloads)}"]
    return [
        *(
            f"{workload.name}: {fault}"
            for workload in cluster.workloads.values()
            for rule in (_pod_faults, _container_faults, _probe_faults, _reference_faults, _volume_faults)
            for fault in rule(cluster, workload)
        ),
        *_settings_faults(cluster, ca_file, monkeypatch),
        *_scaling_faults(cluster),
        *_disruption_faults(cluster),
        *_service_faults(cluster),
        *_monitor_faults(cluster),
        *_policy_faults(cluster),
    ]


def _pod_faults(cluster: Cluster, workload: Workload) -> Iterator[str]:
    pod, user = workload.pod, int(re.findall(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1])
    security = pod.get("securityContext", {})
    if (security.get("runAsNonRoot"), security.get("runAsUser")) != (True, user):
        yield f"does not run as the image's user {user}"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if pod.get("enableServiceLinks") is not False:
        # The service `yousync-api` would set YOUSYNC_API_PORT, to a URL.
        yield "has variables of the namespace's services in its environment"
    account = cluster.of("ServiceAccount").get(pod.get("serviceAccountName", ""))
    if (
        account is None
        or account["automountServiceAccountToken"]
        or pod.get("automountServiceAccountToken") is not False
    ):
        yield "has an account's token"
    stop = STOP_SECONDS.get(workload.name, 0)
    hook = workload.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if pod.get("terminationGracePeriodSeconds", 30) < hook + stop + 5:
        yield f"is killed before it has stopped, which may take {hook + stop} s"
    if len(pod["containers"]) != 1 or workload.container["name"] != workload.name:
        yield "has other containers than its own"


def _container_faults(_cluster: Cluster, workload: Workload) -> Iterator[str]:
    container = workload.container
    security = container.get("securityContext", {})
    if not security.get("readOnlyRootFilesystem"):
        yield "may write to its root file system"
    if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities") != {"drop": ["ALL"]}:
        yield "may get more rights"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    if container["image"].rpartition(":")[2] != version:
        yield f"its image is {container['image']}, the project's version {version}"
    for kind in ("requests", "limits"):
        if set(container.get("resources", {}).get(kind, {})) != {"cpu", "memory"}:
            yield f"has no {kind}"
    known = {
        command.name or command.callback.__name__ for command in command_line.registered_commands if command.callback
    }
    if container["args"][0] != workload.name or workload.name not in known or "command" in container:
        yield f"no command {container['args']}"


def _probe_faults(_cluster: Cluster, workload: Workload) -> Iterator[str]:
    routes = admin_routes()
    if workload.name not in SERVICES:
        return
    for probe, path in {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}.items():
        asked = workload.container.get(probe, {}).get("httpGet", {})
        if asked.get("path") != path or path not in routes or asked.get("port") != "admin":
            yield f"its {probe} asks {asked}"
    for name, variable in {"admin": "YOUSYNC_ADMIN_PORT", "http": "YOUSYNC_API_PORT"}.items():
        if name in workload.ports and str(workload.ports[name]) != workload.environment.get(variable):
            yield f"its port {name} is not {variable}"
    if set(workload.ports) != ({"admin", "http"} if workload.name == "api" else {"admin"}):
        yield f"its ports are {workload.ports}"


def admin_routes() -> set[str]:
    app = create_admin_app(Health(), CollectorRegistry())
    return {resource.canonical for resource in app.router.resources()}


def _reference_faults(cluster: Cluster, workload: Workload) -> Iterator[str]:
    for source in workload.container.get("envFrom", []):
        if source.get("configMapRef", {}).get("name") not in cluster.of("ConfigMap"):
            yield f"takes its environment from {source}"
    for one in workload.container.get("env", []):
        reference = one.get("valueFrom", {}).get("secretKeyRef", {})
        if (one["name"] in SECRETS) != bool(reference):
            yield f"{one['name']} is given by {one}"
        elif reference and (reference["name"] not in SECRETS_GIVEN or reference.get("optional")):
            yield f"{one['name']} is taken from {reference}"
    yield from (f"{variable} is no setting" for variable in workload.environment.keys() - VARIABLES.keys())
    if SECRETS & {variable for variable, value in workload.environment.items() if value is not None}:
        yield "a secret is written down"
    if ("YOUTUBE_API_KEY" in workload.environment) != (workload.name == "producer"):
        yield "has the key, or needs it and has none"
    if ("MONGODB_URI" in workload.environment) != (workload.name in WITH_STORE):
        yield "has the store, or needs it and has none"
    user = workload.environment.get("KAFKA_SASL_USERNAME")
    if user and f"\nallow {user} " not in (ROOT / "deploy/kafka/acls.sh").read_text():
        yield f"its Kafka user {user} has no rights"


def _volume_faults(_cluster: Cluster, workload: Workload) -> Iterator[str]:
    read_only = {volume["name"] for volume in workload.pod.get("volumes", []) if "secret" in volume}
    claimed = {claim["metadata"]["name"] for claim in workload.owner["spec"].get("volumeClaimTemplates", [])}
    mounts = {mount["name"]: mount for mount in workload.container.get("volumeMounts", [])}
    if set(mounts) != read_only | claimed:
        yield f"mounts {sorted(mounts)}, has {sorted(read_only | claimed)}"
    home = re.search(r"YOUSYNC_HOME=(\S+)", (ROOT / "Dockerfile").read_text())
    paths = {mounts[name]["mountPath"] for name in claimed & mounts.keys()}
    if home is None or paths != ({home[1]} if workload.name == "processor" else set()):
        yield f"keeps state in {sorted(paths)}"
    authority = workload.environment.get("KAFKA_SSL_CAFILE")
    if authority and str(Path(authority).parent) not in {mount["mountPath"] for mount in mounts.values()}:
        yield f"{authority} is not mounted"


def _settings_faults(cluster: Cluster, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What each pod's environment says is taken by the settings themselves."""
    given = {"MONGODB_URI": "mongodb://user:password@mongodb.mongodb.svc/?replicaSet=rs0", "YOUTUBE_API_KEY": "key"}
    for name, workload in cluster.workloads.items():
        with monkeypatch.context() as patch:
            for variable in VARIABLES:
                patch.delenv(variable, raising=False)
            for variable, value in workload.environment.items():
                patch.setenv(variable, given.get(variable, "secret") if value is None else value)
            if "KAFKA_SSL_CAFILE" in workload.environment:
                patch.setenv("KAFKA_SSL_CAFILE", str(ca_file))
            try:
                settings = load_settings()
                if name == "producer":
                    require_for_polling(settings)
            except SettingsError as error:
                yield f"{name}: {error}"
                continue
        if settings.kafka_bootstrap_servers == Settings.model_construct().kafka_bootstrap_servers:
            yield f"{name}: looks for Kafka in its own pod"
        if name in SERVICES and settings.admin_host != "0.0.0.0":  # noqa: S104 - compared, not bound
            yield f"{name}: its admin server cannot be asked by the kubelet"


def _scaling_faults(cluster: Cluster) -> Iterator[str]:
    workers = cluster.workloads["processor"]
    partitions = int(workers.environment["YOUSYNC_TOPIC_PARTITIONS"] or 0)
    fewest, most = cluster.replicas(workers)
    if not 1 <= fewest <= most <= partitions:
        yield f"processor: {fewest} to {most} for {partitions} partitions"
    if cluster.replicas(cluster.workloads["producer"])[1] > 2:
        yield "producer: one polls and one stands by, more have no work"
    for name, scaled in cluster.of("ScaledObject").items():
        target = cluster.target(scaled)
        if target is None:
            yield f"{name}: scales nothing"
            continue
        if "replicas" in target.owner["spec"]:
            yield f"{name}: its target says how many, too"
        for trigger in scaled["spec"]["triggers"]:
            rules = {"kafka": _kafka_trigger_faults, "prometheus": _prometheus_trigger_faults}
            yield from (f"{name}: {fault}" for fault in _trigger_faults(cluster, target, trigger))
            yield from (f"{name}: {fault}" for fault in rules[trigger["type"]](target, trigger["metadata"]))


def _trigger_faults(cluster: Cluster, target: Workload, trigger: Object) -> Iterator[str]:
    """What KEDA would only find out as it runs."""
    declared = json.loads((SCHEMAS / "keda_triggers.json").read_text())[trigger["type"]]
    parameters = {one["name"]: one for one in declared}
    given: dict[str, str | None] = {}
    for name, value in trigger["metadata"].items():
        parameter = name.removesuffix("FromEnv")
        allowed = parameters.get(parameter, {}).get("allowedValue")
        if name != parameter and value not in target.environment:
            yield f"{name}: its target has no {value}"
        elif allowed and value not in allowed:
            yield f"{name} is {value}"
        given[parameter] = value
    if "authenticationRef" in trigger:
        authentication = cluster.of("TriggerAuthentication")[trigger["authenticationRef"]["name"]]["spec"]
        yield from _authentication_faults(target, authentication)
        given |= dict.fromkeys(one["parameter"] for one in authentication["secretTargetRef"] + authentication["env"])
    yield from (f"KEDA knows no {name}" for name in sorted(given.keys() - parameters.keys()))
    if trigger["type"] == "kafka" and target.environment.get("KAFKA_SECURITY_PROTOCOL") == "SASL_SSL":
        mechanism = str(target.environment["KAFKA_SASL_MECHANISM"]).lower().replace("-sha-", "_sha")
        secured = (given.get("sasl"), given.get("tls")) == (mechanism, "enable")
        if not secured or not {"username", "password", "ca"} <= given.keys():
            yield "asks Kafka in another way than its target does"


def _authentication_faults(target: Workload, authentication: Object) -> Iterator[str]:
    secrets = _secret_keys(target)
    for one in authentication["secretTargetRef"]:
        if (one["name"], one["key"]) not in secrets:
            yield f"takes {one['key']} of {one['name']}, which its target does not know"
    for one in authentication["env"]:
        if one["name"] not in target.environment or one["containerName"] != target.name:
            yield f"takes {one['name']} of {one['containerName']}, which has none"


def _secret_keys(workload: Workload) -> set[tuple[str, str]]:
    references = [one["valueFrom"]["secretKeyRef"] for one in workload.container["env"] if "valueFrom" in one]
    mounted = [volume["secret"] for volume in workload.pod.get("volumes", []) if "secret" in volume]
    return {(one["name"], one["key"]) for one in references} | {
        (secret["secretName"], item["key"]) for secret in mounted for item in secret["items"]
    }


def _kafka_trigger_faults(_target: Workload, metadata: Mapping[str, str]) -> Iterator[str]:
    wanted = {
        "topic": RAW,
        "consumerGroup": PROJECTOR_GROUP,
        "limitToPartitionsWithLag": "true",
        "excludePersistentLag": "true",
        "offsetResetPolicy": "earliest",
    }
    yield from (f"{name} is {metadata.get(name)}" for name, value in wanted.items() if metadata.get(name) != value)


def _prometheus_trigger_faults(_target: Workload, metadata: Mapping[str, str]) -> Iterator[str]:
    declared = set()
    for metrics in (ProducerMetrics, ProcessorMetrics, ApiMetrics):
        for metric in vars(metrics(CollectorRegistry())).values():
            [family] = metric.describe()
            suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
            declared |= {family.name + suffix for suffix in suffixes[family.type]}
    asked = set(re.findall(r"\byousync_\w+", metadata["query"]))
    if not asked or not asked <= declared:
        yield f"asks for {sorted(asked - declared)}"
    if not metadata["query"].startswith("sum(") or " by " in metadata["query"]:
        yield "its query gives more than one number"
    if metadata.get("ignoreNullValues") != "false":
        yield "takes no answer for no load"


def _disruption_faults(cluster: Cluster) -> Iterator[str]:
    for name, budget in cluster.of("PodDisruptionBudget").items():
        selected = cluster.selected(budget["spec"]["selector"])
        if len(selected) != 1:
            yield f"{name}: is for {sorted(selected)}"
            continue
        fewest, _ = cluster.replicas(cluster.workloads[selected.pop()])
        if not 1 <= budget["spec"]["maxUnavailable"] < fewest:
            yield f"{name}: {budget['spec']['maxUnavailable']} of {fewest} may be away"
    for name, workload in cluster.workloads.items():
        for spread in workload.pod.get("topologySpreadConstraints", []):
            if cluster.selected(spread["labelSelector"]) != {name}:
                yield f"{name}: spreads others"


def _service_faults(cluster: Cluster) -> Iterator[str]:
    services = cluster.of("Service")
    for name, service in services.items():
        for selected in cluster.selected({"matchLabels": service["spec"]["selector"]}) or {""}:
            ports = cluster.workloads[selected].ports if selected else {}
            yield from (f"{name}: no port {one}" for one in service["spec"]["ports"] if one["targetPort"] not in ports)
    if [port["name"] for port in services["yousync-api"]["spec"]["ports"]] != ["http"]:
        yield "yousync-api: serves more than its public port"
    for name, ingress in cluster.of("Ingress").items():
        for path in [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]:
            if path["backend"] != {"service": {"name": "yousync-api", "port": {"name": "http"}}}:
                yield f"{name}: leads to {path['backend']}"
    if cluster.of("StatefulSet")["yousync-processor"]["spec"]["serviceName"] not in services:
        yield "yousync-processor: its service is not there"


def _monitor_faults(cluster: Cluster) -> Iterator[str]:
    for name, monitor in cluster.of("PodMonitor").items():
        if cluster.selected(monitor["spec"]["selector"]) != SERVICES:
            yield f"{name}: does not watch every service"
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] != "admin" or endpoint["path"] not in admin_routes():
                yield f"{name}: asks {endpoint}"


def _policy_faults(cluster: Cluster) -> Iterator[str]:
    policies = cluster.of("NetworkPolicy")
    denied = {
        kind
        for policy in policies.values()
        if policy["spec"]["podSelector"] == {} and not {"ingress", "egress"} & policy["spec"].keys()
        for kind in policy["spec"]["policyTypes"]
    }
    if denied != {"Ingress", "Egress"}:
        yield f"nothing is allowed by itself only for {sorted(denied)}"
    yield from (
        f"{name}: is for nobody" for name, one in policies.items() if not cluster.selected(one["spec"]["podSelector"])
    )
    for name, workload in cluster.workloads.items():
        yield from (f"{name}: {fault}" for fault in _reach_faults(cluster, workload))


def _reach_faults(cluster: Cluster, workload: Workload) -> Iterator[str]:
    """Who may be reached from a pod, and who may reach it: so many and no more."""
    own = [
        one["spec"]
        for one in cluster.of("NetworkPolicy").values()
        if matches(one["spec"]["podSelector"], workload.labels)
    ]
    out = {
        (_place(peer), port["port"])
        for spec in own
        for rule in spec.get("egress", [])
        for peer in rule["to"]
        for port in rule["ports"]
    }
    brokers = str(workload.environment["KAFKA_BOOTSTRAP_SERVERS"]).split(",")
    wanted: set[tuple[str, int | str]] = {("kube-system", 53)}
    wanted |= {(broker.partition(":")[0].split(".")[1], int(broker.partition(":")[2])) for broker in brokers}
    wanted |= {("mongodb", 27017)} if workload.name in WITH_STORE else set()
    wanted |= {("0.0.0.0/0", 443), ("::/0", 443)} if workload.name == "producer" else set()
    if out != wanted:
        yield f"reaches {sorted(out, key=str)}"
    into = {
        (_place(peer), port["port"])
        for spec in own
        for rule in spec.get("ingress", [])
        for peer in rule["from"]
        for port in rule["ports"]
    }
    allowed = {("monitoring", "admin")} if workload.name in SERVICES else set()
    allowed |= {("ingress", "http")} if workload.name == "api" else set()
    if into != allowed or not {port for _, port in into} <= set(workload.ports):
        yield f"is reached by {sorted(into)}"


def _place(peer: Object) -> str:
    """A namespace or a range of addresses."""
    if "ipBlock" in peer:
        block: str = peer["ipBlock"]["cidr"]
        return block
    namespace: str = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    return namespace


CONTAINER: Final = "spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (Change("Deployment", "api", f"{CONTAINER}.image", "yousync:latest"), "its image is"),
        (Change("Deployment", "api", f"{CONTAINER}.resources.limits", {}), "has no limits"),
        (Change("Deployment", "api", f"{CONTAINER}.readinessProbe.httpGet.path", "/ready"), "readinessProbe asks"),
        (Change("Deployment", "producer", f"{CONTAINER}.ports.0.containerPort", 9091), "port admin is not"),
        (Change("Deployment", "producer", f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False), "may write"),
        (
            Change("Deployment", "api", "spec.template.spec.enableServiceLinks", True),
            "variables of the namespace's services",
        ),
        (Change("Deployment", "api", "spec.template.spec.terminationGracePeriodSeconds", 15), "killed before"),
        (Change("Deployment", "producer", "spec.template.spec.serviceAccountName", "default"), "account's token"),
        (
            Change("Deployment", "api", f"{CONTAINER}.env.0.name", "YOUSYNC_API_HOSTS"),
            "YOUSYNC_API_HOSTS is no setting",
        ),
        (
            Change("Deployment", "producer", f"{CONTAINER}.env", [{"name": "YOUTUBE_API_KEY", "value": "k"}]),
            "YOUTUBE_API_KEY is given",
        ),
        (Change("Deployment", "producer", "spec.replicas", 3), "one polls"),
        (Change("ConfigMap", "yousync-settings", "data.KAFKA_SECURITY_PROTOCOL", "TLS"), "KAFKA_SECURITY_PROTOCOL"),
        (Change("ConfigMap", "producer", "data.YOUSYNC_QUERIES", ""), "YOUSYNC_QUERIES"),
        (Change("ConfigMap", "yousync-settings", "data.YOUSYNC_TOPIC_PARTITIONS", "8"), "1 to 12 for 8 partitions"),
        (Change("StatefulSet", "", f"{CONTAINER}.volumeMounts.1.mountPath", "/data"), "keeps state in"),
        (Change("Deployment", "producer", f"{CONTAINER}.env.0.value", "producer"), "Kafka user producer has no rights"),
        (Change("StatefulSet", "", "spec.replicas", 2), "its target says how many"),
        (Change("ScaledObject", "processor", "spec.triggers.0.metadata.topic", "youtube.videos"), "topic is"),
        (Change("ScaledObject", "processor", "spec.triggers.0.metadata.lagTreshold", "1"), "KEDA knows no lagTreshold"),
        (Change("ScaledObject", "processor", "spec.triggers.0.metadata.sasl", "plaintext"), "in another way"),
        (Change("ScaledObject", "api", "spec.triggers.0.metadata.query", "sum(yousync_requests)"), "asks for"),
        (Change("ScaledObject", "api", "spec.minReplicaCount", 1), "1 of 1 may be away"),
        (Change("TriggerAuthentication", "", "spec.secretTargetRef.0.key", "api-password"), "does not know"),
        (Change("NetworkPolicy", "youtube", "spec.podSelector", {}), "api: reaches"),
        (Change("NetworkPolicy", "ingress", "spec.ingress.0.ports.0.port", "admin"), "api: is reached by"),
        (Change("NetworkPolicy", "kafka", "spec.egress.0.ports.0.port", 9092), "processor: reaches"),
        (
            Change("NetworkPolicy", "prometheus", "spec.podSelector", {"matchLabels": {"app": "yousync"}}),
            "is for nobody",
        ),
        (Change("Service", "api", "spec.ports.0.targetPort", "admin-port"), "no port"),
        (Change("PodMonitor", "", "spec.podMetricsEndpoints.0.path", "/v1/metrics"), "asks"),
    ],
)
def test_a_changed_overlay_is_noticed(
    change: Change, fault: str, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = change.made(objects_of("production"))

    assert any(fault in found for found in faults_of(objects, ca_file, monkeypatch))
