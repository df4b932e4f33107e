#!/usr/bin/env python3
"""Servers side by side: CPU time per request, requests per second, and how far each is from the floor.

    benches/compare.py --python target/venv --floor target/floor --rwsgi target/release/rwsgi [SERVER ...]

Every server is started anew in every round, in turn, on one CPU; wrk loads it from another. The body is compared with
the first server's before anything is measured, and the floor's environ with rwsgi's. CPU time is what the kernel
counted for the server and all its descendants while wrk ran, divided by the requests that wrk counted; wrk's own time
is not in it. The figures shown are medians of the rounds, with the smallest and the largest; the ratio is the median of
the rounds' own ratios, so that a machine that slows down between two rounds does not spoil it. A machine that does
other work meanwhile does. Needs nothing but Python and wrk.
"""

import argparse
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Measured(NamedTuple):
    microseconds: float  # of CPU, per request
    requests: float  # per second
    p99: float  # milliseconds


# What is run. Each takes the options and a port, and returns the words of a command.


def floor(options, port):
    return [options.floor, venv_python(options), str(port), options.app, options.target]


def rwsgi(options, port):
    words = [options.rwsgi, "-w", "1", "-b", f"127.0.0.1:{port}", "--python", options.python]
    return words + ["--chdir", options.chdir, "--log-level", "warning", options.app]


def gunicorn(options, port, *kind):
    words = [venv_python(options), "-m", "gunicorn", "-w", "1", "-b", f"127.0.0.1:{port}"]
    return words + ["--chdir", options.chdir, "--log-level", "warning", *kind, options.app]


def gunicorn_gthread(options, port):
    return gunicorn(options, port, "-k", "gthread", "--threads", "4")


SERVERS = {"floor": floor, "rwsgi": rwsgi, "gunicorn": gunicorn, "gunicorn-gthread": gunicorn_gthread}


def venv_python(options):
    """--python may name a virtualenv or an interpreter, as in rwsgi."""
    inside = Path(options.python, "bin", "python")
    return str(inside) if inside.exists() else options.python


# Starting and watching.


@contextlib.contextmanager
def running(name, options):
    """The server on its CPU, answering; its process and its port."""
    port = free_port()
    command = SERVERS[name](options, port)
    server = subprocess.Popen(
        ["taskset", "-c", str(options.server_cpu), *command],
        cwd=options.chdir,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port, server, name)
        yield server, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, server, name, limit=20):
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(f"{name}: ended with code {server.returncode} before it answered")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise SystemExit(f"{name}: does not listen on port {port} after {limit} s")


def body_of(name, port, target):
    """The body of two requests on one connection, where the server keeps it; they must be the same."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    bodies = []
    for _ in range(2):
        client.request("GET", target)
        answer = client.getresponse()
        bodies.append(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{name}: {target}: expected status 200, found {answer.status}")
    client.close()
    if bodies[0] != bodies[1]:
        raise SystemExit(f"{name}: {target}: two requests, two different bodies")
    return bodies[0]


def check_environs(options):
    """The floor is one for rwsgi only where both give the same environ: its size is part of the cost."""
    if not {"floor", "rwsgi"} <= set(options.servers):
        return
    options = argparse.Namespace(**{**vars(options), "app": "keys:application", "chdir": str(HERE)})
    keys = {}
    for name in ("floor", "rwsgi"):
        with running(name, options) as (_, port):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            # Nothing but Host, as wrk.
            client.putrequest("GET", options.target, skip_accept_encoding=True)
            client.endheaders()
            keys[name] = set(client.getresponse().read().decode().split())
            client.close()
    if keys["floor"] != keys["rwsgi"]:
        differing = ", ".join(sorted(keys["floor"] ^ keys["rwsgi"]))
        raise SystemExit(f"floor: expected the environ of rwsgi, found differing keys: {differing}")


def cpu_nanoseconds(root):
    """CPU time of a process and its descendants so far. man 5 proc: stat; Documentation/scheduler/sched-stats.rst.

    schedstat counts nanoseconds where stat counts ticks of 10 ms; it forgets threads that ended, which no server here
    has between the two readings.
    """
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    total, todo = 0, [root]
    while todo:
        process = todo.pop()
        todo += children.get(process, [])
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{process}/task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0])
    return total


# Measuring.


def load(port, options, seconds):
    """Runs wrk; its report."""
    command = ["taskset", "-c", str(options.client_cpu), "wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s"]
    command += ["--latency", f"http://127.0.0.1:{port}{options.target}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure(name, options):
    with running(name, options) as (server, port):
        body = body_of(name, port, options.target)
        load(port, options, 1)
        before = cpu_nanoseconds(server.pid)
        report = load(port, options, options.seconds)
        spent = cpu_nanoseconds(server.pid) - before
    for trouble in ("Non-2xx", "Socket errors"):
        if trouble in report:
            raise SystemExit(f"{name}: requests failed\n{report}")
    requests = int(re.search(r"(\d+) requests in", report)[1])
    if not requests:
        raise SystemExit(f"{name}: answered nothing\n{report}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", report)[1])
    return body, Measured(spent / requests / 1000, rate, milliseconds(re.search(r"99%\s+([\d.]+)(us|ms|s|m)", report)))


def milliseconds(found):
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[found[2]]


def rounds(options):
    """name -> what was measured in each round. The order turns with the rounds, so that nobody always comes first."""
    results = {name: [] for name in options.servers}
    expected = None
    for number in range(options.rounds):
        turn = number % len(options.servers)
        for name in options.servers[turn:] + options.servers[:turn]:
            body, measured = measure(name, options)
            if expected is None:
                expected = name, body
            if body != expected[1]:
                raise SystemExit(f"{name}: its body is not the body of {expected[0]}")
            results[name].append(measured)
            print(f"round {number + 1}/{options.rounds}  {name:16}  {measured.microseconds:7.2f} µs", file=sys.stderr)
    return results


def ratios(results, name):
    """How many times the floor's CPU time each round took, or the first server's where the floor does not run."""
    base = results.get("floor") or next(iter(results.values()))
    return [mine.microseconds / its.microseconds for mine, its in zip(results[name], base)]


def table(results):
    lines = [f"{'server':16} {'CPU µs/request':>14} {'(min..max)':>16} {'ratio':>6} {'requests/s':>11} {'p99 ms':>7}"]
    for name, measured in results.items():
        cpu = [one.microseconds for one in measured]
        spread = f"({min(cpu):.2f}..{max(cpu):.2f})"
        rate = statistics.median(one.requests for one in measured)
        p99 = statistics.median(one.p99 for one in measured)
        ratio = statistics.median(ratios(results, name))
        lines.append(f"{name:16} {statistics.median(cpu):14.2f} {spread:>16} {ratio:6.2f} {rate:11.0f} {p99:7.2f}")
    return "\n".join(lines)


def words():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=f"of {', '.join(SERVERS)} (default: floor rwsgi)")
    parser.add_argument("--python", default=sys.prefix, help="virtualenv or interpreter of the application")
    parser.add_argument("--floor", default="target/floor", help="the built floor.c")
    parser.add_argument("--rwsgi", default="target/release/rwsgi", help="the built rwsgi")
    parser.add_argument("--app", default="hello:application", help="MODULE:CALLABLE (default: %(default)s)")
    parser.add_argument("--chdir", default=str(HERE), help="where the application is (default: beside this file)")
    parser.add_argument("--target", default="/", help="what is asked for (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of a measurement (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="kept open by wrk (default: %(default)s)")
    parser.add_argument("--at-most", type=float, metavar="RATIO", help="exit 1 if rwsgi takes more than this")
    options = parser.parse_args()
    options.servers = options.servers or ["floor", "rwsgi"]
    unknown = [name for name in options.servers if name not in SERVERS]
    if unknown:
        parser.error(f"SERVER: expected one of {', '.join(SERVERS)}, found {unknown[0]}")
    # abspath, not realpath: pyvenv.cfg is found beside the link, not beside what it points to.
    options.python, options.floor, options.rwsgi, options.chdir = map(
        os.path.abspath, (options.python, options.floor, options.rwsgi, options.chdir)
    )
    return options


def main():
    options = words()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("compare.py: expected two CPUs, one for the server and one for wrk, found one")
    options.client_cpu, options.server_cpu = cpus[0], cpus[1]
    for program, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if not shutil.which(program):
            raise SystemExit(f"compare.py: {program} not found\nhint: apt-get install {package}")
    check_environs(options)
    results = rounds(options)
    print(
        f"GET {options.target} of {options.app}, {options.connections} connections kept, one worker on CPU "
        f"{options.server_cpu}, {options.rounds} rounds of {options.seconds} s"
    )
    print(table(results))
    if options.at_most and "rwsgi" in results:
        ratio = statistics.median(ratios(results, "rwsgi"))
        if ratio > options.at_most:
            raise SystemExit(f"rwsgi: expected at most {options.at_most} times the floor, found {ratio:.2f}")


if __name__ == "__main__":
    main()
