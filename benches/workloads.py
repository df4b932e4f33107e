"""The list of what is measured: a row a workload. Knows no server's options and no way of measuring.

A workload has variants where something grows or is switched; each is a fresh start of each server in each round.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import instructions
import loads
from loads import Load

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"

FLOORS = ("floor-bare", "floor")
RWSGI = ("rwsgi", "rwsgi-gthread")
PEERS = ("gunicorn", "gunicorn-gthread", "uwsgi", "nginx-uwsgi", "granian", "fastpysgi", "bjoern", "waitress",
         "cheroot", "mod_wsgi")
BEHIND = ("nginx-rwsgi", "nginx-rwsgi-gthread", "nginx-uwsgi", "nginx-gunicorn", "nginx-gunicorn-gthread",
          "nginx-granian", "nginx-fastpysgi", "nginx-bjoern", "mod_wsgi")
FORM = "&".join(f"field{number:03}={'v' * 93}" for number in range(100)).encode()


@dataclass(frozen=True)
class Variant:
    """What differs: fields of the `Setup`, fields of the `Load`."""

    setup: dict = field(default_factory=dict)
    load: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    title: str
    words: str  # what is done, for the report
    servers: tuple
    columns: tuple  # of figures, in the order of the table; see report.FIGURES
    better: str = "cpu"  # the figure by which a table is ordered
    measure: Callable = loads.wrk
    setup: dict = field(default_factory=dict)
    load: Load = Load()
    variants: dict = field(default_factory=lambda: {"": Variant()})
    rounds: int = 3
    seconds: int = 3
    pinned: bool = True
    only: dict = field(default_factory=dict)  # variant -> servers, where not all have it
    needs: tuple = ()  # programs (and Debian packages of the same name) beside those that all need


FLASK = {"app": "app:app", "directory": EXAMPLES / "flask", "target": "/hello"}
DJANGO = {"app": "mysite.wsgi:application", "directory": EXAMPLES / "django", "target": "/polls/", "workers": 4}
BODIES = {"app": "bodies:application"}
USUAL = ("cpu", "ratio", "rate", "p50", "p99")
PLAIN = ("cpu", "rate", "p50", "p99")
POLLS = Load("/polls/", connections=8, count=1000)


def fields(count):
    """As many header fields as a request is to have; wrk sends Host by itself."""
    return tuple((f"X-Field-{number}", f"value-of-the-field-{number}") for number in range(1, count))


WORKLOADS = {
    "hello": Workload(
        "Hello, connections kept",
        "13 bytes from the smallest application, 32 connections.",
        (*FLOORS, *RWSGI, *PEERS), (*USUAL, "pss"), rounds=5, seconds=4,
    ),
    "hello-close": Workload(
        "Hello, a connection a request",
        "The same, every request with Connection: close.",
        (*FLOORS, *RWSGI, *PEERS), USUAL, setup={"close": True}, load=Load(headers=(("Connection", "close"),)), rounds=5,
    ),
    "hello-unpinned": Workload(
        "Hello, 2 workers, nothing pinned",
        "Two workers (or one process with threads, where there are no workers) and wrk share all CPUs.",
        (*FLOORS, *RWSGI, *PEERS), USUAL, setup={"workers": 2}, pinned=False,
    ),
    "flask": Workload(
        "Flask",
        "Hello from Flask, 32 connections kept.",
        ("floor", *RWSGI, *PEERS), USUAL, setup=FLASK, load=Load("/hello"), rounds=5,
    ),
    "django": Workload(
        "Django, direct",
        "The list of polls of the example site: sqlite, templates, sessions; 4 processes, ab with 8 clients and 1000 "
        "requests at a time. waitress and cheroot have one process with 4 threads.",
        ("floor", *RWSGI, *PEERS), USUAL, measure=loads.ab, setup=DJANGO | {"close": True}, load=POLLS, rounds=5,
    ),
    "django-unpinned": Workload(
        "Django, direct, nothing pinned",
        "The same, with the server and ab on all CPUs.",
        ("floor", *RWSGI, *PEERS), USUAL, measure=loads.ab, setup=DJANGO | {"close": True}, load=POLLS, pinned=False,
    ),
    "django-nginx": Workload(
        "Django, behind nginx",
        "The same page through nginx (or Apache); CPU time is that of both.",
        BEHIND, PLAIN, measure=loads.ab, setup=DJANGO, load=POLLS, rounds=5,
    ),
    "mebibyte": Workload(
        "A body of 1 MiB", "One bytes object, 8 connections.",
        ("floor", *RWSGI, *PEERS), PLAIN, setup=BODIES | {"target": "/mebibyte"}, load=Load("/mebibyte", connections=8),
    ),
    "chunks": Workload(
        "A body in 100 pieces", "A generator of 100 times 256 bytes, no length given.",
        (*RWSGI, *PEERS), PLAIN, setup=BODIES, load=Load("/chunks"),
    ),
    "upload": Workload(
        "An upload of 1 MiB", "The application reads it whole; 8 connections.",
        (*RWSGI, *PEERS), PLAIN, setup=BODIES, load=Load("/upload", connections=8, sent=bytes(range(256)) * 4096),
    ),
    "form": Workload(
        "A form of 10 KiB", "100 fields; the application parses them.",
        (*RWSGI, *PEERS), PLAIN, setup=BODIES, load=Load("/form", sent=FORM),
    ),
    "file": Workload(
        "A file of 10 MiB", "By wsgi.file_wrapper where the server has it; 8 connections.",
        (*RWSGI, *PEERS), PLAIN, setup=BODIES, load=Load("/file", connections=8),
    ),
    "dribble": Workload(
        "200 dribbling clients",
        "Hello over 32 connections, alone and beside 200 clients that send a byte of a request's head every 100 ms and "
        "never end it.",
        (*RWSGI, *PEERS), ("cpu_alone", "cpu", "cpu_ratio", "rate_alone", "rate", "p99"),
        better="cpu_ratio", measure=loads.dribbled, load=Load(clients=200),
    ),
    "idle": Workload(
        "2000 idle connections",
        "Hello over 32 connections, alone and beside 2000 that had an answer and rest. Memory is what they add.",
        (*RWSGI, *PEERS), ("kept", "kib_each", "cpu_alone", "cpu", "cpu_ratio", "rate_ratio"),
        better="kib_each", measure=loads.idled, load=Load(clients=2000),
    ),
    "slow-4x1": Workload(
        "One request in ten sleeps 100 ms, 4 × 1",
        "200 requests a second over 32 kept connections, at times drawn beforehand; latency of the fast ones. 4 "
        "processes of one thread.",
        ("rwsgi", "gunicorn", "uwsgi", "nginx-uwsgi", "granian", "fastpysgi", "bjoern", "mod_wsgi", "nginx-rwsgi"),
        ("p50", "p99", "max", "slow_p99", "retried", "late_p99"), better="p99", measure=loads.arrived,
        setup={"app": "waiting:application", "workers": 4},
        load=Load("/fast", rate=200, count=20000), rounds=1,
    ),
    "slow-2x4": Workload(
        "One request in ten sleeps 100 ms, 2 × 4",
        "The same, with 2 processes of 4 threads (waitress and cheroot: one process of 8).",
        ("rwsgi-gthread", "gunicorn-gthread", "uwsgi", "nginx-uwsgi", "granian", "waitress", "cheroot", "mod_wsgi",
         "nginx-rwsgi-gthread"),
        ("p50", "p99", "max", "slow_p99", "retried", "late_p99"), better="p99", measure=loads.arrived,
        setup={"app": "waiting:application", "workers": 2, "threads": 4},
        load=Load("/fast", rate=200, count=20000), rounds=1,
    ),
    "computing": Workload(
        "A page that computes for 1 ms",
        "8 connections; one process with 1 and with 4 threads.",
        ("rwsgi-gthread", "gunicorn-gthread", "uwsgi", "granian", "waitress", "cheroot", "mod_wsgi"),
        PLAIN, better="p99", setup={"app": "computing:application"}, load=Load(connections=8),
        variants={"1 thread": Variant({"threads": 1}), "4 threads": Variant({"threads": 4})}, rounds=5,
    ),
    "headers": Workload(
        "Header fields",
        "Hello, with 5, 20 and 60 header fields in the request.",
        (*RWSGI, *PEERS), ("cpu", "rate"), better="cpu",
        variants={f"{count} fields": Variant(load={"headers": fields(count)}) for count in (5, 20, 60)},
    ),
    "connections": Workload(
        "Connections",
        "Hello over 10, 100 and 1000 connections.",
        (*FLOORS, *RWSGI, *PEERS), ("cpu", "rate", "p99"), better="cpu",
        variants={f"{count} connections": Variant(load={"connections": count}) for count in (10, 100, 1000)},
    ),
    "workers": Workload(
        "Workers",
        "Flask's hello with 1, 2 and 4 workers, nothing pinned.",
        (*RWSGI, "gunicorn", "gunicorn-gthread", "uwsgi", "nginx-uwsgi", "granian", "fastpysgi", "bjoern", "mod_wsgi"),
        ("cpu", "rate", "p99"), better="rate", setup=FLASK, load=Load("/hello"), pinned=False,
        variants={f"{count} worker{'s' * (count > 1)}": Variant({"workers": count}) for count in (1, 2, 4)},
    ),
    "access-log": Workload(
        "The access log",
        "Hello without and with an access log in a file. The servers that have one.",
        (*RWSGI, "gunicorn", "gunicorn-gthread", "uwsgi", "nginx-uwsgi", "granian", "mod_wsgi"), ("cpu", "rate"),
        better="cpu", variants={"off": Variant(), "on": Variant({"access_log": True})}, rounds=5,
    ),
    "instructions": Workload(
        "Instructions",
        "Instructions a request, as valgrind counts them: hello and Flask over 8 kept connections, Django with a connection "
        "a request. One process serves; as many of its threads are counted as are to serve, the busiest ones. Those of gthread "
        "have the helper's share among them, many times too large, as valgrind slows everything down but the clock.",
        ("floor", *RWSGI), ("instructions",), better="instructions", measure=instructions.counted, load=Load(connections=8),
        variants={
            "hello": Variant(load={"count": 1600}),
            "Flask": Variant(FLASK, {"target": "/hello", "count": 400}),
            "Django": Variant(DJANGO | {"workers": 1, "close": True}, {"target": "/polls/", "count": 80}),
        },
        rounds=1, needs=("valgrind",),
    ),
    "memory": Workload(
        "Memory of 4 Django workers",
        "All processes after 2000 requests to the list of polls, shared pages counted in part (PSS). The application is "
        "loaded before the fork where the server can; with warm-up, requests are served before it, too.",
        (*RWSGI, "gunicorn", "gunicorn-gthread", "uwsgi", "granian", "fastpysgi", "bjoern", "mod_wsgi"),
        ("pss", "processes"), better="pss", measure=loads.remembered, setup=DJANGO | {"preload": True}, load=POLLS,
        variants={"": Variant(), "with warm-up": Variant({"extra": ("--warmup", "/polls/")})},
        only={"with warm-up": RWSGI},
    ),
    "start": Workload(
        "Start",
        "From the start of the first process to the first 200, hello, one worker.",
        (*RWSGI, *PEERS), ("ready",), better="ready", measure=loads.started, rounds=9,
    ),
}
# What `make bench-quick` runs: enough to see that nothing is badly wrong.
QUICK = ("hello", "upload", "start")
