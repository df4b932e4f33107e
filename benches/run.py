#!/usr/bin/env python3
"""Servers side by side. `make bench` calls this; `benches/run.py --help` says how to call it otherwise.

Every server is started anew for every measurement, in turn, the order turning with the rounds, so that a machine that
slows down meanwhile slows all of them. Its answers are compared with the application's own before anything is measured.
Results are written after each round as JSON, a file a workload; the report is made from these files.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
import report
from checks import Expected, check, check_environs
from instructions import counted
from loads import arrived, started
from processes import Refused, busy_nanoseconds, running, wait_for_port
from servers import SERVERS, Setup
from workloads import DJANGO, QUICK, WORKLOADS

HERE = Path(__file__).resolve().parent
FILE_SIZE = 10 * 1024 * 1024
QUICK_ROUNDS, QUICK_SECONDS = 1, 1
# An address, a time, a method, a status.
SHORTEST_LINE = 30


class Bench:
    """Where things are, and how long a measurement takes."""

    def __init__(self, options):
        self.options = options
        self.results = Path(options.results)
        self.scratch = self.results / "scratch"
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("benches: expected two CPUs, one for the server and one for the load, found one")
        self.all_cpus, self.pinned_load, self.pinned_server = set(cpus), {cpus[0]}, {cpus[1]}
        self.environment = {"BENCH_FILE": str(self.scratch / "file"), "DJANGO_DB": str(self.scratch / "polls.sqlite3")}
        self.rwsgi_is = hashlib.sha256(Path(options.rwsgi).read_bytes()).hexdigest()[:16]
        # Of the measurement under way.
        self.seconds = self.repeats = 1
        self.load_cpus, self.server_cpus, self.started = self.all_cpus, self.all_cpus, 0.0
        self.ends_with_connection = False

    def prepare(self):
        """What the applications need: a file, a database, a number of turns."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        python = self.options.python / "bin" / "python"
        file = self.scratch / "file"
        if not file.exists() or file.stat().st_size != FILE_SIZE:
            file.write_bytes(bytes(range(256)) * (FILE_SIZE // 256))
        counted = subprocess.run([python, HERE / "apps" / "computing.py"], check=True, capture_output=True, text=True)
        self.environment["BENCH_TURNS"] = counted.stdout.strip()
        self.expected = Expected(python, {**os.environ, **self.environment})

    def prepare_django(self):
        words = [self.options.python / "bin" / "python", DJANGO["directory"] / "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(words, check=True, env={**os.environ, **self.environment})

    def setup(self, workload, variant, server):
        """What is asked of a server, with the threads that it has where nothing is said."""
        said = {**workload.setup, **variant.setup}
        setup = Setup(
            python=self.options.python / "bin" / "python",
            rwsgi=self.options.rwsgi,
            floor=self.options.floor,
            scratch=self.scratch,
            **{name: value for name, value in said.items() if name not in ("threads", "access_log")},
        )
        setup.threads = said.get("threads") or server.threads or 1
        if server.one_process:
            setup.threads = setup.workers * said["threads"] if "threads" in said else max(setup.threads, setup.workers)
            setup.workers = 1
        if said.get("access_log"):
            setup.access_log = self.scratch / "access.log"
            setup.access_log.write_bytes(b"")
        return setup


def measure(bench, workload, variant, name):
    """One measurement of one server: its figures, and its shape; or why there are none."""
    server = SERVERS[name]
    setup = bench.setup(workload, variant, server)
    load = dataclasses.replace(workload.load, **variant.load)
    if bench.options.quick and workload.measure is arrived:
        load = dataclasses.replace(load, count=load.count // 20)
    shape = f"{setup.workers} × {setup.threads}"
    try:
        if workload.measure is counted:
            return {"shape": shape, **counted(bench, server, setup, load)}
        commands = server.commands(setup)
        bench.started = time.monotonic()
        with running(
            commands, bench.server_cpus, bench.scratch / f"{name}.log", bench.environment, setup.directory
        ) as process:
            figures = {}
            if workload.measure is started:
                figures = started(bench, process, load)
            wait_for_port(process)
            target = load.target + "?checksum" * bool(load.sent)
            expected = bench.expected.body(setup, target, load.sent)
            bench.ends_with_connection = check(process.port, expected, target, load.sent, load.headers)
            if workload.measure is not started:
                figures, others = beside_others(process, lambda: workload.measure(bench, process, load))
                figures["others"] = others
                check_log(setup, bench.scratch / f"{name}.log", figures)
            figures.setdefault("pss", process.pss_kib() / 1024)
            process.check_alive()
        return {"shape": shape, **figures}
    except Refused as refused:
        return {"shape": shape, "refused": str(refused)}


def beside_others(server, do):
    """What came of it, and how many processors the rest of the machine used meanwhile: zero is what one wants."""

    def now():
        own = os.times()
        own = (own.user + own.system + own.children_user + own.children_system) * 10**9
        return time.monotonic_ns(), busy_nanoseconds() - own - server.cpu_nanoseconds()

    (start, before), figures, (end, after) = now(), do(), now()
    return figures, max(0, after - before) / (end - start)


def check_log(setup, output, figures):
    """Who has an access log has a line a request in it, here or on its output."""
    if setup.access_log and figures.get("rate"):
        written = setup.access_log.stat().st_size + output.stat().st_size
        if written < figures["rate"] * SHORTEST_LINE:
            raise Refused(f"its access log has {written} bytes for {figures['rate']:.0f} requests and more")


def run_workload(bench, name):
    """All rounds of a workload; what came of them is written after each."""
    workload = WORKLOADS[name]
    quick, options = bench.options.quick, bench.options
    rounds = options.rounds or (QUICK_ROUNDS if quick else workload.rounds)
    bench.seconds = options.seconds or (QUICK_SECONDS if quick else workload.seconds)
    bench.repeats = 1 if quick else 3
    bench.load_cpus = bench.pinned_load if workload.pinned else bench.all_cpus
    bench.server_cpus = bench.pinned_server if workload.pinned else bench.all_cpus
    results = {
        "workload": name, "quick": quick, "rounds": rounds, "seconds": bench.seconds, "pinned": workload.pinned,
        "rwsgi": bench.rwsgi_is, "machine": machine.described(options), "variants": {},
    }
    setups = [workload.setup, *(variant.setup for variant in workload.variants.values())]
    if any(setup.get("directory") == DJANGO["directory"] for setup in setups):
        bench.prepare_django()
    for number in range(rounds):
        for title, variant in workload.variants.items():
            servers = chosen(workload, title, options)
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                found = results["variants"].setdefault(title, {}).setdefault(server, [])
                if any("refused" in one for one in found):
                    continue
                one = measure(bench, workload, variant, server)
                found.append(one)
                say(f"{name} {title or ''} round {number + 1}/{rounds} {SERVERS[server].label}", one)
        results["load_average"] = os.getloadavg()[0]
        write(bench.results / f"{name}.json", results)
    return results


def chosen(workload, title, options):
    servers = workload.only.get(title, workload.servers)
    return [name for name in servers if not options.servers or name in options.servers]


def say(words, one):
    shown = one.get("refused") or ", ".join(
        f"{key} {one[key]:.2f}" for key in ("cpu", "rate", "p99", "ready", "pss", "instructions") if one.get(key) is not None
    )
    trouble = f", {one['errors']} errors" if one.get("errors") else ""
    print(f"{words}: {shown}{trouble}", file=sys.stderr, flush=True)


def write(path, results):
    """At once or not at all, as a run may be broken off."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(results, indent=1))
    unfinished.replace(path)


def ratio_to_floor(results):
    pairs = zip(results["variants"][""]["rwsgi"], results["variants"][""]["floor"])
    return statistics.median(mine["cpu"] / its["cpu"] for mine, its in pairs)


def words():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ", ".join(WORKLOADS)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {names} (default: all)")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} alone, one short round")
    parser.add_argument("--resume", action="store_true", help="leave out what has results of this very program")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the page from the results")
    parser.add_argument("--python", type=Path, default=Path("target/bench/venv"), help="virtualenv with the servers")
    parser.add_argument("--rwsgi", type=Path, default=Path("target/release/rwsgi"), help="the built rwsgi")
    parser.add_argument("--floor", type=Path, default=Path("target/floor.so"), help="the built floor.c")
    parser.add_argument("--results", type=Path, default=Path("target/bench/full"), help="where the results go")
    parser.add_argument("--page", type=Path, help="the page to write (default: none)")
    parser.add_argument("--servers", type=lambda text: text.split(","), metavar="NAME,NAME",
                        help=f"these alone, with commas between, of {', '.join(SERVERS)} (default: all of a workload)")
    parser.add_argument("--rounds", type=int, help="how often each server is measured (default: as the workload says)")
    parser.add_argument("--seconds", type=int, help="length of a measurement (default: as the workload says)")
    parser.add_argument("--at-most", type=float, metavar="RATIO", help="exit 1 if rwsgi's hello takes more than this")
    options = parser.parse_args()
    for kind, asked, known in (("WORKLOAD", options.workloads, WORKLOADS), ("--servers", options.servers, SERVERS)):
        for name in asked or ():
            if name not in known:
                parser.error(f"{kind}: expected one of {', '.join(known)}, found {name}")
    # absolute, not resolve: pyvenv.cfg is found beside the link, not beside what it points to.
    for name in ("python", "rwsgi", "floor", "results"):
        setattr(options, name, getattr(options, name).absolute())
    return options


def check_needed(options, names):
    needed = [("wrk", "wrk"), ("ab", "apache2-utils"), ("taskset", "util-linux")]
    needed += [(program, program) for name in names for program in WORKLOADS[name].needs]
    for program, package in needed:
        if not shutil.which(program):
            raise SystemExit(f"benches: {program} not found\nhint: apt-get install {package}")
    for path in (options.python / "bin" / "python", options.rwsgi, options.floor):
        if not path.exists():
            raise SystemExit(f"benches: {path} not found\nhint: make bench builds it")


def run(options):
    names = options.workloads or (QUICK if options.quick else list(WORKLOADS))
    check_needed(options, names)
    bench = Bench(options)
    bench.prepare()
    if any({"floor", "rwsgi"} <= set(chosen(WORKLOADS[name], "", options)) for name in names):
        workload = dataclasses.replace(WORKLOADS["hello"], setup={"app": "keys:application"})
        setups = {name: bench.setup(workload, workload.variants[""], SERVERS[name]) for name in ("floor", "rwsgi")}
        check_environs(setups, SERVERS, bench.all_cpus, bench.scratch)
    for name in names:
        path = bench.results / f"{name}.json"
        if options.resume and path.exists() and json.loads(path.read_text()).get("rwsgi") == bench.rwsgi_is:
            print(f"{name}: has its results", file=sys.stderr)
            continue
        results = run_workload(bench, name)
        print("\n" + report.as_text(results) + "\n", flush=True)
        if options.at_most and name == "hello" and ratio_to_floor(results) > options.at_most:
            found = f"{ratio_to_floor(results):.2f}"
            raise SystemExit(f"rwsgi: expected at most {options.at_most} times the floor, found {found}")


def main():
    options = words()
    # As Ctrl-C: servers are ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.suppress(KeyboardInterrupt):
        if not options.report:
            run(options)
        if options.page:
            report.write_page(options.results, options.page)
        return
    raise SystemExit(130)


if __name__ == "__main__":
    main()
