"""The image and the compose file, tried for real by a Docker daemon of this test's own.

It needs root, `dockerd`, `debootstrap` and Go (which builds Compose), takes a quarter of an hour and some GiB, and is
therefore run only where `YOUSYNC_TRY_CONTAINERS=1` asks for it:

    apt-get install -y --no-install-recommends docker.io debootstrap
    YOUSYNC_TRY_CONTAINERS=1 .venv/bin/python -m pytest -s tests/system/test_containers.py

Nothing is downloaded but packages: the base of the image is made by `debootstrap`, and what stands in for the images of
Kafka, MongoDB and nginx is in `containers/`.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.programs import required_program
from yousync.local.kafka_jars import jars_folder
from yousync.local.mongod import find_mongod
from yousync.local.server import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

ROOT: Final = Path(__file__).parents[2]
STAND_INS: Final = Path(__file__).parent / "containers"
COMPOSE_MODULE: Final = "github.com/docker/compose/v2@v2.40.3"
BASE: Final = "yousync-base"
SUITE: Final = "bookworm"
BUNDLE: Final = Path("/etc/ssl/certs/ca-certificates.crt")
RESTRICTED: Final = ["--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"]
SETTINGS: Final = {
    "COMPOSE_PROFILES": "simulator",
    "YOUTUBE_API_ENDPOINT": "http://simulator:8090/",
    "YOUTUBE_API_KEY": "simulated-key",
    "YOUSYNC_QUERIES": "python;coffee",
    "YOUSYNC_SEARCH_CALLS_PER_DAY": "1000000",
    "YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY": "1000000",
}


class Docker:
    """A daemon with its data below one folder, and Compose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "dockerd.log").open("wb") as log:
            self._daemon = subprocess.Popen(
                [
                    required_program("dockerd", "docker.io"),
                    *("--data-root", self.folder / "data", "--exec-root", self.folder / "exec"),
                    *("--host", self.host, "--pidfile", self.folder / "docker.pid"),
                ],
                stdout=log,
                stderr=log,
            )
        until(lambda: not self.run("version", check=False).returncode, 60, (self.folder / "dockerd.log").read_text)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(60)
            # The daemon leaves this mounted, and the folder could not be removed.
            call(["umount", str(self.folder / "exec/netns/default")], {}, check=False)

    def run(self, *command: str, check: bool = True, **settings: str) -> "subprocess.CompletedProcess[str]":
        return call(["docker", *command], {"DOCKER_HOST": self.host, **settings}, check=check)

    def compose(self, project: Path, *command: str) -> str:
        program = [str(self.folder / "docker-compose"), "--project-directory", str(project), *command]
        return call(program, {"DOCKER_HOST": self.host}, cwd=project).stdout


def call(
    command: list[str], environment: Mapping[str, str], *, check: bool = True, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    ours = ("YOUSYNC_", "YOUTUBE_", "KAFKA_", "MONGODB_", "COMPOSE_", "DOCKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        command, env={**kept, **environment}, cwd=cwd, capture_output=True, text=True, timeout=1800, check=False
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def until(true: Any, seconds: float, otherwise: Any) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.5)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """With the image built, and what stands in for the others."""
    if os.environ.get("YOUSYNC_TRY_CONTAINERS") != "1":
        pytest.skip("takes a quarter of an hour and a Docker daemon of its own: set YOUSYNC_TRY_CONTAINERS=1")
    if os.geteuid():
        pytest.skip("a Docker daemon and debootstrap need root")
    debootstrap, go = required_program("debootstrap", "debootstrap"), required_program("go", "Go")
    docker = Docker(tmp_path_factory.mktemp("docker"))
    docker.start()
    try:
        build_compose(go, docker.folder)
        make_base(debootstrap, docker)
        # The classic builder, which Debian's package has: nothing in the Dockerfile may need more.
        build = ("build", "--quiet", "--network", "host")
        docker.run(*build, "--build-arg", f"PYTHON_IMAGE={BASE}", "-t", "yousync", str(ROOT), DOCKER_BUILDKIT="0")
        context = gather_stand_ins(docker.folder / "stand-ins")
        for name, image in stand_in_images().items():
            file = str(context / f"{name}.Dockerfile")
            docker.run(*build, "--build-arg", f"BASE={BASE}", "-f", file, "-t", image, str(context))
        yield docker
    finally:
        docker.stop()


def build_compose(go: str, folder: Path) -> None:
    module = json.loads(call([go, "mod", "download", "-json", COMPOSE_MODULE], {}).stdout)["Dir"]
    source = folder / "compose"
    shutil.copytree(module, source)
    call(["chmod", "-R", "u+w", str(source)], {})
    call([go, "build", "-o", str(folder / "docker-compose"), "./cmd"], {}, cwd=source)


def make_base(debootstrap: str, docker: Docker) -> None:
    """Debian with Python, from where this machine has its packages, trusting whom this machine trusts."""
    base, archive = docker.folder / "base", docker.folder / "base.tar"
    listed = call(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}"], {})
    packages = "--include=python3,python3-venv,ca-certificates"
    call([debootstrap, "--variant=minbase", packages, SUITE, str(base), listed.stdout.splitlines()[0]], {})
    shutil.copy(BUNDLE, base / BUNDLE.relative_to("/"))
    (base / "etc/pip.conf").write_text(f"[global]\ncert = {BUNDLE}\n")
    call(["tar", "-C", str(base), "-cf", str(archive), "."], {})
    docker.run("import", str(archive), BASE)


def gather_stand_ins(context: Path) -> Path:
    shutil.copytree(STAND_INS, context)
    shutil.copytree(jars_folder(), context / "jars")
    shutil.copy(find_mongod(None), context / "mongod")
    (context / "mongod").chmod(0o755)
    return context


def stand_in_images() -> dict[str, str]:
    """The images that the compose file names, by service."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return {name: services[name]["image"] for name in ("kafka", "mongodb", "nginx")}


def test_the_image_runs_as_nobody_on_a_disk_that_it_cannot_write(docker: Docker) -> None:
    assert "Usage" in docker.run("run", *RESTRICTED, "yousync", "--help").stdout
    inspected = json.loads(docker.run("image", "inspect", "yousync").stdout)[0]
    base = json.loads(docker.run("image", "inspect", BASE).stdout)[0]
    assert inspected["Config"]["User"] == "10001:10001"
    assert inspected["Config"]["Healthcheck"]["Test"]
    print(f"\nimage {inspected['Size'] / 1e6:.0f} MB, of which the base has {base['Size'] / 1e6:.0f}")  # noqa: T201 - a figure, shown with -s
    said = docker.run(
        "run", *RESTRICTED, "--entrypoint", "sh", "yousync", "-c", "touch /x; python3 -m pip", check=False
    )
    assert "Read-only file system" in said.stderr
    assert "No module named pip" in said.stderr


def test_the_compose_file_brings_everything_up_and_a_dead_replica_costs_no_answer(
    docker: Docker, tmp_path: Path
) -> None:
    port = free_port()
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    settings = {**SETTINGS, "YOUSYNC_API_PORT": str(port)}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    up = ("up", "--detach", "--no-build", "--pull", "never", "--wait", "--wait-timeout", "300")
    url = f"http://127.0.0.1:{port}/v1/videos?limit=1"
    try:
        began = time.monotonic()
        docker.compose(tmp_path, *up)
        print(f"\nall healthy after {time.monotonic() - began:.0f} s")  # noqa: T201 - a figure, shown with -s
        until(lambda: total(url) > 20, 60, lambda: docker.compose(tmp_path, "logs", "--tail", "50"))
        print(docker.run("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").stdout)  # noqa: T201 - a figure, shown with -s

        docker.run("kill", "yousync-api-1")
        assert [status(f"{url}&page={number}") for number in range(1, 61)] == [200] * 60

        before = total(url)
        docker.compose(tmp_path, "down")
        docker.compose(tmp_path, *up)
        assert total(url) >= before
    finally:
        docker.compose(tmp_path, "down", "--volumes", "--timeout", "30")
    assert docker.run("ps", "--all", "--quiet").stdout == ""


def total(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http on loopback
        return int(json.load(answer)["total"])


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http on loopback
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
