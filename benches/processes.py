"""Starts a server, watches it in /proc, ends it. Knows no server by name and no workload.

Every process of a server is in the session of a process that was started here, or descends from one: that is how they
are found, counted and ended, whatever they do among themselves.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
# A server that has not ended by then is killed. Nothing is under way any more, so there is nothing to wait for.
ENDS_WITHIN = 3


def busy_nanoseconds():
    """What all processors have done so far, for whomever, and what the host took from them. man 5 proc: stat."""
    user, nice, system, _, _, _, _, steal, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + steal) * (10**9 // os.sysconf("SC_CLK_TCK"))


class Refused(Exception):
    """The server does not start, or does not answer as it should. The text is shown in the report."""


class Running:
    """A server under way: its processes, the port that clients are to use, its log."""

    def __init__(self, log):
        self.parts = []
        self.port = 0
        self.log = log

    def processes(self):
        """The ids of its processes."""
        roots = {part.pid for part in self.parts}
        parents, found = {}, set()
        for process, parent, session in processes():
            parents.setdefault(parent, []).append(process)
            if session in roots:
                found.add(process)
        todo = list(roots | found)
        while todo:
            process = todo.pop()
            found.add(process)
            todo += [child for child in parents.get(process, []) if child not in found]
        return found

    def cpu_nanoseconds(self):
        """CPU time of all threads so far. Documentation/scheduler/sched-stats.rst.

        schedstat counts nanoseconds where stat counts ticks of 10 ms. It forgets threads that ended, of which the
        servers here have none between two readings that are seconds apart.
        """
        total = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{process}/task").iterdir():
                    with contextlib.suppress(OSError):
                        total += int((thread / "schedstat").read_text().split()[0])
        return total

    def pss_kib(self):
        """Memory, pages shared with others counted in part. man 5 proc: smaps_rollup."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total

    def last_words(self):
        """What it said last, to tell why it ended: the first line that speaks of an error, or else the last one."""
        lines = [line.strip() for line in Path(self.log).read_text(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower() or "expected" in line.lower()]
        return (telling[:1] or lines[-1:] or ["it said nothing"])[0][:200]

    def check_alive(self):
        for part in self.parts:
            if part.poll() is not None:
                raise Refused(f"ended with code {part.returncode}: {self.last_words()}")


def processes():
    """(id, parent, session) of every process. man 5 proc: stat; the name may hold anything, so it is read from behind."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                yield int(entry), int(fields[1]), int(fields[3])


@contextlib.contextmanager
def running(parts, cpus, log, environment, directory):
    """A server of one or more parts (those behind come first); ended on leaving, whatever happened.

    `parts` are pairs of a command and the port on which it will listen. The last port is the one for clients, and the
    only one that may not be listening yet: `wait_for_port` waits for it.
    """
    server = Running(log)
    try:
        with open(log, "wb") as output:
            for command, port in parts:
                if server.parts:
                    wait_for_port(server)
                part = subprocess.Popen(
                    [str(word) for word in command],
                    cwd=directory,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=lambda: bind_to(cpus),
                )
                server.parts.append(part)
                server.port = port
        yield server
    finally:
        end(server)


def bind_to(cpus):
    """In the child: its CPUs, and an end with the parent's, should that be killed before it can end anybody."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, cpus)


def wait_for_port(server, limit=20):
    until = time.monotonic() + limit
    while time.monotonic() < until:
        server.check_alive()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return
        time.sleep(0.002)
    raise Refused(f"does not listen after {limit} s: {server.last_words()}")


def end(server):
    """TERM to its groups, KILL to what is left."""
    known = server.processes() if server.parts else set()
    for part in reversed(server.parts):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.pid, signal.SIGTERM)
    until = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < until and any(part.poll() is None for part in server.parts):
        time.sleep(0.01)
    for process in (known & {each for each, _, _ in processes()}) | server.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for part in server.parts:
        part.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
