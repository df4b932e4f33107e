"""Instructions a request, counted by valgrind: what a noisy machine cannot hide. The kernel's are not among them.

A server of one process that serves is started twice and asked for few requests and for many; what the second run took more
is shared out among the requests that it had more. As many threads are counted as are to serve, the busiest ones. A server
that is counted is many times slower than usual: what it does by the clock would count many times as much. The garbage
collector is off, as it is chance in which run it has more to do.
"""

import os
import re
import shlex
import socket
from pathlib import Path

from processes import Refused, running, wait_for_port

FEW, MANY = 1, 6
# An interpreter that is loaded many times slower than usual, and Django with it.
STARTS_WITHIN, ANSWERS_WITHIN = 120, 60


def counted(bench, server, setup, load):
    """`load.count` requests are the few; `load.connections` connections take turns."""
    setup.python = counting_python(setup.python, bench.scratch / "counting")
    totals = [one_run(bench, server, setup, load, load.count * times) for times in (FEW, MANY)]
    return {"instructions": (totals[1] - totals[0]) / (load.count * (MANY - FEW)), "errors": 0}


def counting_python(python, directory):
    """A virtualenv like that of `python`, whose interpreter counts where it is given a program (-c), as rwsgi and the floor
    do. Asked for its version and the like it runs as usual."""
    binaries, real = directory / "bin", directory / "bin" / "python-itself"
    for each in (binaries, directory / "start"):
        each.mkdir(parents=True, exist_ok=True)
    (directory / "start" / "sitecustomize.py").write_text("import gc\n\ngc.disable()\n")
    (directory / "pyvenv.cfg").write_bytes((python.parent.parent / "pyvenv.cfg").read_bytes())
    for link, target in ((directory / "lib", python.parent.parent / "lib"), (real, Path(os.path.realpath(python)))):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    script = binaries / "python"
    valgrind = 'valgrind --tool=callgrind --quiet --separate-threads=yes --callgrind-out-file="$COUNTS.%p"'
    itself = shlex.quote(str(real))
    script.write_text(
        "#!/bin/bash\n"
        f'if [ "$1" = -c ]; then exec {valgrind} {itself} "$@"; fi\n'
        f'exec -a "$0" {itself} "$@"\n'
    )
    script.chmod(0o755)
    return script


def one_run(bench, server, setup, load, requests):
    """The instructions of the threads that serve, in the process that has the most of them."""
    counts = bench.scratch / "counts"
    for left in bench.scratch.glob("counts.*"):
        left.unlink()
    environment = {**bench.environment, "COUNTS": str(counts), "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = str(setup.virtualenv / "start")
    commands = server.commands(setup)
    with running(commands, bench.server_cpus, bench.scratch / "counted.log", environment, setup.directory) as process:
        wait_for_port(process, STARTS_WITHIN)
        ask(process.port, setup, load, requests)
    threads = {}
    for file in bench.scratch.glob("counts.*-*"):
        found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M)
        threads.setdefault(file.suffix.partition("-")[0], []).append(int(found[1]) if found else 0)
    if not threads:
        raise Refused("valgrind counted nothing")
    return max(sum(sorted(counts)[-setup.threads:]) for counts in threads.values())


def ask(port, setup, load, requests):
    """GET after GET over a few connections, which are opened anew where the server is to close them."""
    closing = "Connection: close\r\n" if setup.close else ""
    request = f"GET {load.target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{closing}\r\n".encode()
    open_ones = []
    for _ in range(requests // load.connections):
        while len(open_ones) < load.connections:
            open_ones.append(socket.create_connection(("127.0.0.1", port), timeout=ANSWERS_WITHIN))
        for one in open_ones:
            one.sendall(request)
        for one in open_ones:
            receive(one)
        if setup.close:
            for one in open_ones:
                one.close()
            open_ones = []
    for one in open_ones:
        one.close()


def receive(connection):
    """One response, which has a Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
    if b" 200 " not in head[:20] or not length:
        raise Refused(f"expected 200 and a Content-Length, found {head[:80]!r}")
    left = int(length[1]) - len(body)
    while left > 0:
        left -= len(some(connection))


def some(connection):
    received = connection.recv(65536)
    if not received:
        raise Refused("the connection ends within a response")
    return received
