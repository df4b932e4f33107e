"""What is right: the answers that a server has to give before it is measured. Knows no server by name but the floor."""

import http.client
import subprocess
from pathlib import Path

from processes import Refused, running, wait_for_port

HERE = Path(__file__).resolve().parent


class Expected:
    """The answers of applications when no server stands between; each asked once."""

    def __init__(self, python, environment):
        self.python, self.environment, self.known = python, environment, {}

    def body(self, setup, target, sent):
        key = setup.app, target, sent
        if key not in self.known:
            command = [self.python, HERE / "direct.py", setup.app, target]
            done = subprocess.run(
                command, input=sent, cwd=setup.directory, env=self.environment, capture_output=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{setup.app}: {target}: fails without a server\n{done.stderr.decode()}")
            self.known[key] = done.stdout
        return self.known[key]


def check(port, expected, target, sent=b"", headers=()):
    """Asks twice, over one connection where the server keeps it. Raises `Refused` for a wrong answer; says whether the
    body ends with the connection, having neither a length nor chunks."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    fields = {"Content-Type": "application/x-www-form-urlencoded"} if sent else {}
    try:
        for _ in range(2):
            client.request("POST" if sent else "GET", target, sent or None, fields | dict(headers))
            answer = client.getresponse()
            ends_with_connection = answer.length is None and not answer.chunked
            body = answer.read()
            if answer.status != 200:
                raise Refused(f"{target}: expected status 200, found {answer.status}")
            if body != expected:
                raise Refused(f"{target}: expected {short(expected)}, found {short(body)}")
        return ends_with_connection
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{target}: expected an answer, found {type(error).__name__}: {error}") from error
    finally:
        client.close()


def short(body):
    return f"{len(body)} bytes beginning with {body[:20]!r}"


def check_environs(setups, servers, cpus, scratch):
    """The floor is one for rwsgi only where both give the same environ: its size is part of the cost."""
    keys = {}
    for name, setup in setups.items():
        with running(servers[name].commands(setup), cpus, scratch / f"{name}.log", {}, setup.directory) as server:
            wait_for_port(server)
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            # Nothing but Host, as wrk.
            client.putrequest("GET", setup.target, skip_accept_encoding=True)
            client.endheaders()
            keys[name] = set(client.getresponse().read().decode().split())
            client.close()
    first, second = keys.values()
    if first != second:
        differing = ", ".join(sorted(first ^ second))
        raise SystemExit(f"floor: expected the environ of rwsgi, found differing keys: {differing}")
