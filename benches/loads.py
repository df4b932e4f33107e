"""What is done to a server, and the figures that come of it. Knows no server by name.

Each measurement takes a `Bench` (where things are), a running server and a `Load`, and gives a dict of figures:
microseconds of CPU a request over all the server's processes (`cpu`), requests a second (`rate`), milliseconds (`p50`,
`p99`), `errors`. The load's own CPU time is in none of them.
"""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from processes import Refused

HERE = Path(__file__).resolve().parent
# 2000 connections with an answer each take most servers less than a second. gunicorn's sync workers wait two for the
# client to close.
RESTING_WITHIN = 15


@dataclass(frozen=True)
class Load:
    target: str = "/"
    connections: int = 32
    headers: tuple = ()
    sent: bytes = b""  # a request body
    count: int = 0  # requests, where the load is a number of them and not a time
    rate: int = 0  # requests a second, where they come by themselves
    clients: int = 0  # dribbling or idle ones beside the load


def wrk(bench, server, load, warm=True):
    """As many requests as the server takes, over connections that are kept open where it keeps them."""
    if warm:
        run_wrk(bench, server.port, load, 1)
    before = server.cpu_nanoseconds()
    report = run_wrk(bench, server.port, load, bench.seconds)
    spent = server.cpu_nanoseconds() - before
    requests = int(re.search(r"(\d+) requests in", report)[1])
    found = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    connect, read, write, timeout = map(int, found.groups()) if found else (0, 0, 0, 0)
    # wrk takes the end of a connection for an error even where it is the end of the body (RFC 9112 section 6.3).
    errors = connect + (0 if bench.ends_with_connection else read) + write + timeout
    found = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    errors += int(found[1]) if found else 0
    if not requests:
        return {"cpu": None, "rate": 0, "p50": None, "p99": None, "errors": errors}
    return {
        "cpu": spent / requests / 1000,
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", report)[1]),
        "p50": milliseconds(report, "50%"),
        "p99": milliseconds(report, "99%"),
        "errors": errors,
    }


def run_wrk(bench, port, load, seconds):
    words = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--latency"]
    for name, value in load.headers:
        words += ["-H", f"{name}: {value}"]
    if load.sent:
        body, script = bench.scratch / "wrk.body", bench.scratch / "wrk.lua"
        body.write_bytes(load.sent)
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = io.open("{body}", "rb"):read("*a")\n'
            'wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n'
        )
        words += ["-s", str(script)]
    return said(bench, [*words, f"http://127.0.0.1:{port}{load.target}"])


def milliseconds(report, share):
    found = re.search(rf"\s{share}\s+([\d.]+)(us|ms|s|m|h)\b", report)
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000, "h": 3600000}[found[2]]


def said(bench, words, timeout=600):
    """The output of a program that loads the server, on its own CPU."""
    command = ["taskset", "-c", ",".join(map(str, bench.load_cpus)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise Refused(f"{words[0]} gives up: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done.stdout


def ab(bench, server, load):
    """ApacheBench: HTTP/1.0, a connection a request. The first run warms the workers and is not counted."""
    words = ["ab", "-q", "-c", load.connections, "-n", load.count, f"http://127.0.0.1:{server.port}{load.target}"]
    said(bench, words)
    before = server.cpu_nanoseconds()
    reports = [said(bench, words) for _ in range(bench.repeats)]
    spent = server.cpu_nanoseconds() - before
    requests = load.count * len(reports)

    def number(pattern, report):
        found = re.search(pattern, report)
        return float(found[1]) if found else 0

    return {
        "cpu": spent / requests / 1000,
        "rate": requests / sum(number(r"Time taken for tests:\s+([\d.]+)", report) for report in reports),
        "p50": max(number(r"\s50%\s+(\d+)", report) for report in reports),
        "p99": max(number(r"\s99%\s+(\d+)", report) for report in reports),
        "errors": sum(
            int(number(pattern, report))
            for report in reports
            for pattern in (r"Failed requests:\s+(\d+)", r"Non-2xx responses:\s+(\d+)")
        ),
    }


def beside(alone, others):
    """The figures of the load beside other clients, with those of the load alone, and how they compare."""
    figures = {**others, "cpu_alone": alone["cpu"], "rate_alone": alone["rate"]}
    figures["errors"] += alone["errors"]
    figures["cpu_ratio"] = others["cpu"] / alone["cpu"] if others["cpu"] and alone["cpu"] else None
    figures["rate_ratio"] = others["rate"] / alone["rate"] if alone["rate"] else None
    return figures


def dribbled(bench, server, load):
    """wrk alone, then beside clients that send a byte every 100 ms and never come to an end."""
    alone = wrk(bench, server, load)
    words = ["taskset", "-c", ",".join(map(str, bench.load_cpus)), sys.executable, HERE / "dribble.py"]
    words = [str(word) for word in [*words, server.port, load.clients]]
    dribblers = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if dribblers.stdout.readline() != "ready\n":
            raise Refused(f"dribbling clients cannot connect: {dribblers.stderr.read().strip()[-100:]}")
        figures = beside(alone, wrk(bench, server, load))
        dribblers.send_signal(signal.SIGTERM)
        return figures | json.loads(dribblers.stdout.readline() or "{}")
    finally:
        dribblers.kill()
        dribblers.communicate()


def idled(bench, server, load):
    """wrk alone, then beside connections that had one answer each and rest."""
    alone = wrk(bench, server, load)
    time.sleep(0.5)
    before = server.pss_kib()
    resting = []
    try:
        until = time.monotonic() + RESTING_WITHIN
        while len(resting) < load.clients and time.monotonic() < until:
            with contextlib.suppress(OSError):
                resting.append(rested(server.port, load.target))
        time.sleep(0.5)
        memory = server.pss_kib() - before
        figures = beside(alone, wrk(bench, server, load, warm=False))
        kept = sum(is_open(one) for one in resting)
    finally:
        for one in resting:
            one.close()
    return figures | {"kept": kept, "kib_each": memory / load.clients if kept == load.clients else None}


def rested(port, target):
    """A connection that had one answer."""
    one = socket.create_connection(("127.0.0.1", port), timeout=5)
    one.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    one.recv(65536)
    one.setblocking(False)
    return one


def is_open(one):
    try:
        # What is still there is the rest of the answer; then comes nothing yet, or the end.
        while one.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def arrived(bench, server, load):
    """Requests that come when they come, one in ten of them slow."""
    words = [sys.executable, HERE / "arrivals.py", server.port, load.rate, load.count, load.connections]
    before = server.cpu_nanoseconds()
    figures = json.loads(said(bench, words))
    spent = server.cpu_nanoseconds() - before
    answered = figures["requests"] or 1
    return figures | {"cpu": spent / answered / 1000, "rate": None}


def remembered(bench, server, load):
    """What its processes hold in memory after every worker has served."""
    figures = ab(bench, server, load)
    return {"errors": figures["errors"], "pss": server.pss_kib() / 1024, "processes": len(server.processes())}


def started(bench, server, load):
    """Milliseconds from the start of the first process to the first answer with status 200."""
    until = bench.started + 20
    while time.monotonic() < until:
        server.check_alive()
        with contextlib.suppress(OSError, http.client.HTTPException):
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            client.connect()
            client.request("GET", load.target)
            status = client.getresponse().status
            took = time.monotonic() - bench.started
            client.close()
            if status == 200:
                return {"ready": took * 1000, "errors": 0}
        time.sleep(0.0005)
    raise Refused("no answer within 20 s of its start")
