"""Seconds from `yousync up` to the first page with a video, against the bare servers; and peak memory by process.

Cold is a fresh home folder (downloads are in the cache), warm a second start in the same home. The baseline starts
the same Kafka and MongoDB alone until both answer, in a fresh folder and again in the same one; both are started in
turns. With `--from-nothing` also `make up` in a fresh clone of HEAD with empty caches, once: that needs the network
and some minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from bench.figures import ratios, spread
from bench.servers import bench_folder, new_servers, running
from yousync.local.kafka import kafka_jars
from yousync.local.running_stack import find_running_stack
from yousync.local.server import LocalServer, free_port, last_line

PROJECT: Final = Path(__file__).resolve().parent.parent
FIRST_PAGE_SECONDS: Final = 180
STOP_SECONDS: Final = 60
FROM_NOTHING_SECONDS: Final = 1500
ASK_SECONDS: Final = 0.05
KINDS: Final = ("cold", "warm")

Memory = dict[str, float]
"""Peak resident MiB by process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a cold and a warm start each (default 3)")
    parser.add_argument("--run", type=float, default=8, help="seconds to run on after the first page (default 8)")
    parser.add_argument("--from-nothing", action="store_true", help="also `make up` in a fresh clone, nothing cached")
    options = parser.parse_args()
    kafka_jars(lambda *_: None)
    bare: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ours: dict[str, list[tuple[float, Memory]]] = {kind: [] for kind in KINDS}
    with bench_folder() as folder:
        for number in range(options.rounds):
            servers, home = new_servers(folder / f"bare-{number}"), folder / f"home-{number}"
            for kind in KINDS:
                bare[kind].append(start_bare(*servers))
                ours[kind].append(start_up(home, options.run))
        report(bare, ours, options)
        if options.from_nothing:
            make_up_from_nothing(folder)


def start_bare(*servers: LocalServer) -> float:
    """Seconds until all answer."""
    began = time.monotonic()
    with running(*servers):
        return time.monotonic() - began


def start_up(home: Path, run_seconds: float) -> tuple[float, Memory]:
    """Seconds until the first page shows a video, and the peak memory some seconds later."""
    port, began = free_port(), time.monotonic()
    command = [sys.executable, "-m", "yousync.cli", "up", "--home", str(home), "--api-port", str(port)]
    with child(command, home.with_suffix(".out")) as up:
        wait_for_first_page(up, port, home.with_suffix(".out"), began + FIRST_PAGE_SECONDS)
        seconds = time.monotonic() - began
        time.sleep(run_seconds)
        return seconds, peak_memory(up, home)


@contextmanager
def child(command: list[str], output: Path, folder: Path | None = None, **more: str) -> Iterator[psutil.Popen]:
    """A program that is asked to stop at the end of the block, and killed with all it started if it does not."""
    with output.open("ab") as file:
        process = psutil.Popen(
            command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=os.environ | more
        )
    try:
        yield process
    finally:
        stop_tree(process)


def stop_tree(process: psutil.Popen) -> None:
    """Ask the one that runs the stack to stop (`make` would not pass it on), then end what is left."""
    family = [process, *process.children(recursive=True)] if process.poll() is None else []
    stack = [one for one in family if "up" in arguments(one) and "make" not in arguments(one)]
    for one in stack or family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, alive = psutil.wait_procs(family, STOP_SECONDS)
    for left in alive:
        with suppress(psutil.NoSuchProcess):
            left.kill()


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def wait_for_first_page(up: psutil.Popen, port: int, output: Path, deadline: float) -> None:
    while not shows_a_video(port):
        if up.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"no first page: {last_line(output)}")
        time.sleep(ASK_SECONDS)


def shows_a_video(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/videos", timeout=5) as answer:
            return bool(json.load(answer)["items"])
    except OSError:
        return False


def peak_memory(up: psutil.Popen, home: Path) -> Memory:
    """VmHWM of every process of the tree, named as `yousync status` names it."""
    stack = find_running_stack(home)
    names = {process.pid: process.name for process in stack.processes} if stack else {}
    tree = [up, *up.children(recursive=True)]
    peaks: Memory = {}
    for process in tree:
        name = "up itself" if process.pid == up.pid else names.get(process.pid, process.name())
        peaks[name] = peaks.get(name, 0) + peak_mib(process.pid)
    return peaks


def peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def report(
    bare: dict[str, list[float]], ours: dict[str, list[tuple[float, Memory]]], options: argparse.Namespace
) -> None:
    print(f"Start: {options.rounds} rounds, generated videos, downloads cached, {os.cpu_count()} cores")
    for kind in KINDS:
        seconds = [figure for figure, _ in ours[kind]]
        print(f"  {kind}: first page of `up`  {spread(seconds, '.1f')} s")
        print(f"  {kind}: Kafka and MongoDB   {spread(bare[kind], '.1f')} s")
        print(f"  {kind}: ratio, by round     {spread(ratios(seconds, bare[kind]), '.2f')}")
    peaks = [memory for kind in KINDS for _, memory in ours[kind]]
    print(f"Peak resident memory of each process in MiB, until {options.run:g} s after the first page")
    for name in peaks[0]:
        print(f"  {name:<10} {spread([memory.get(name, 0) for memory in peaks], ',.0f')}")
    print(f"  {'all':<10} {spread([sum(memory.values()) for memory in peaks], ',.0f')} (a sum of peaks)")


def make_up_from_nothing(folder: Path) -> None:
    """A fresh clone: its environment, the downloads, and the first page, told apart by what `make up` prints."""
    clone, output, port = folder / "clone", folder / "make-up.out", free_port()
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
    began = time.monotonic()
    deadline = began + FROM_NOTHING_SECONDS
    command = ["make", "up", f"ARGS=--api-port {port}"]
    with child(command, output, clone, XDG_CACHE_HOME=str(folder / "cache")) as make:
        installed = wait_for_line(make, output, "YouSync: ", deadline)
        started = wait_for_line(make, output, " is ready (process ", deadline)
        wait_for_first_page(make, port, output, deadline)
        page = time.monotonic()
    print(
        f"`make up` from nothing (n=1): {page - began:.0f} s to the first page; "
        f"environment {installed - began:.0f} s, downloads and first server {started - installed:.0f} s, "
        f"from there to the first page {page - started:.1f} s"
    )


def wait_for_line(make: psutil.Popen, output: Path, text: str, deadline: float) -> float:
    """The moment in which the output has this text."""
    while text not in output.read_text():
        if make.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"make up did not say {text!r}: {last_line(output)}")
        time.sleep(ASK_SECONDS)
    return time.monotonic()


if __name__ == "__main__":
    main()
