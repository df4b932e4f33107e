"""How each server is started. Each has the settings that its own documentation gives for production, no access log
unless a workload asks for one, and limits wide enough that none refuses what a workload sends.

A server is a function from a `Setup` to commands; it may raise `Refused` where it cannot do what is asked.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from configs import apache_conf, nginx_conf
from processes import Refused, free_port

HERE = Path(__file__).resolve().parent
# More than any workload opens, so that no server stops at a number of its own.
CONNECTIONS = 4096


@dataclass
class Setup:
    """What is to be served, and how. Paths are absolute."""

    python: Path  # of the benchmark's virtualenv
    rwsgi: Path
    floor: Path
    scratch: Path  # a directory for configuration files and the like
    app: str = "hello:application"
    directory: Path = HERE / "apps"
    target: str = "/"
    workers: int = 1
    threads: int = 1
    close: bool = False  # connections are not kept; only the floor has to be told
    preload: bool = False
    access_log: Path | None = None
    extra: tuple = ()  # for rwsgi: further words
    port: int = field(default_factory=free_port)

    @property
    def bind(self):
        return f"127.0.0.1:{self.port}"

    @property
    def virtualenv(self):
        return self.python.parent.parent

    def run(self, program):
        """A program of the virtualenv."""
        return self.python.parent / program


@dataclass(frozen=True)
class Server:
    label: str
    commands: Callable  # Setup -> [(command, port)], those behind first
    threads: int = 0  # how many it has unless the workload says; 0: it has none beside the one
    one_process: bool = False
    access_log: bool = True
    yardstick: bool = False  # not ranked
    behind_nginx: bool = False
    preload: bool = False  # can load the application before it forks


def floor(setup):
    return [(floor_words(setup) + [setup.app, setup.target], setup.port)]


def floor_bare(setup):
    return [(floor_words(setup), setup.port)]


def floor_words(setup):
    load = f"import sys; sys.path.insert(0, {str(setup.floor.parent)!r}); import floor; floor.main()"
    closing = ["-c"] if setup.close else []
    return [setup.python, "-c", load, "-n", setup.workers, *closing, setup.port]


def rwsgi(setup):
    kind = ["-k", "gthread", "--threads", setup.threads] if setup.threads > 1 else []
    return [(rwsgi_words(setup) + kind + [*setup.extra, setup.app], setup.port)]


def rwsgi_gthread(setup):
    """The class itself, though it may have but one thread."""
    kind = ["-k", "gthread", "--threads", setup.threads]
    return [(rwsgi_words(setup) + kind + [*setup.extra, setup.app], setup.port)]


def rwsgi_words(setup):
    words = [setup.rwsgi, "-w", setup.workers, "-b", setup.bind, "--python", setup.virtualenv]
    words += ["--chdir", setup.directory, "--log-level", "warning"]
    words += ["--preload"] if setup.preload else []
    return words + (["--access-logfile", setup.access_log] if setup.access_log else [])


def gunicorn(setup):
    # Left alone it takes the parser in C if that is installed, and says nothing if it is not.
    words = [setup.python, "-m", "gunicorn", "-w", setup.workers, "-b", setup.bind, "--http-parser", "fast"]
    words += ["--chdir", setup.directory, "--log-level", "warning", "--no-control-socket"]
    words += ["-k", "gthread", "--threads", setup.threads] if setup.threads > 1 else []
    words += ["--worker-connections", CONNECTIONS, "--keep-alive", 75]
    words += ["--preload"] if setup.preload else []
    words += ["--access-logfile", setup.access_log] if setup.access_log else []
    return [(words + [setup.app], setup.port)]


def uwsgi(setup, socket="--http-socket"):
    words = [setup.run("uwsgi"), socket, setup.bind, "--module", setup.app, "--chdir", setup.directory]
    words += ["--virtualenv", setup.virtualenv, "--master", "--need-app", "--die-on-term", "--processes", setup.workers]
    words += ["--threads", setup.threads] if setup.threads > 1 else []
    words += ["--thunder-lock"] if setup.workers > 1 else []
    words += ["--listen", 1024, "--buffer-size", 16384]
    # http-socket keeps no connection and does not say so unless it is told; clients would take it for an error.
    words += ["--add-header", "Connection: close"] if socket == "--http-socket" else []
    words += ["--logto", setup.access_log] if setup.access_log else ["--disable-logging"]
    return [(words, setup.port)]


def granian(setup):
    words = [setup.python, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", setup.port]
    words += ["--http", "1", "--no-ws", "--workers", setup.workers, "--blocking-threads", setup.threads]
    # A connection counts against backpressure for as long as it is open.
    words += ["--backlog", CONNECTIONS, "--backpressure", CONNECTIONS]
    # To its standard output, which is a file here.
    words += ["--log-level", "info", "--access-log"] if setup.access_log else ["--log-level", "warning"]
    return [(words + ["--working-dir", setup.directory, setup.app], setup.port)]


def launched(name):
    """Servers that are libraries."""
    return lambda setup: [([setup.python, HERE / "launch.py", name, setup.app, setup.port, setup.workers,
                            setup.threads], setup.port)]


def waitress(setup):
    words = [setup.run("waitress-serve"), "--listen", setup.bind, "--threads", setup.threads, "--backlog", 2048]
    return [(words + ["--connection-limit", CONNECTIONS, "--asyncore-use-poll", setup.app], setup.port)]


def mod_wsgi(setup):
    config = setup.scratch / "apache.conf"
    config.write_text(apache_conf(setup))
    return [([program("apache2"), "-f", config, "-DFOREGROUND"], setup.port)]


def behind_nginx(server, protocol="http"):
    def commands(setup):
        front, config = free_port(), setup.scratch / "nginx.conf"
        config.write_text(nginx_conf(setup, front, protocol))
        nginx = [program("nginx"), "-p", setup.scratch, "-e", setup.scratch / "nginx-error.log", "-c", config]
        return server(setup) + [(nginx, front)]

    return commands


def program(name):
    """Debian keeps nginx and its like where an ordinary user's PATH does not look."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        raise Refused(f"{name} is not installed")
    return found


def uwsgi_socket(setup):
    return uwsgi(setup, "--socket")


SERVERS = {
    "floor-bare": Server("floor without Python", floor_bare, yardstick=True, access_log=False),
    "floor": Server("floor", floor, yardstick=True, access_log=False),
    "rwsgi": Server("rwsgi sync", rwsgi, preload=True),
    "rwsgi-gthread": Server("rwsgi gthread", rwsgi_gthread, threads=4, preload=True),
    "gunicorn": Server("gunicorn sync", gunicorn, preload=True),
    "gunicorn-gthread": Server("gunicorn gthread", gunicorn, threads=4, preload=True),
    "uwsgi": Server("uWSGI http-socket", uwsgi, preload=True),
    "nginx-uwsgi": Server("nginx + uWSGI", behind_nginx(uwsgi_socket, "uwsgi"), behind_nginx=True, preload=True),
    "granian": Server("granian", granian),
    "fastpysgi": Server("fastpysgi", launched("fastpysgi"), access_log=False),
    "bjoern": Server("bjoern", launched("bjoern"), access_log=False),
    "waitress": Server("waitress", waitress, threads=4, one_process=True, access_log=False),
    "cheroot": Server("cheroot", launched("cheroot"), threads=4, one_process=True, access_log=False),
    "mod_wsgi": Server("Apache + mod_wsgi", mod_wsgi),
    "nginx-rwsgi": Server("nginx + rwsgi sync", behind_nginx(rwsgi), behind_nginx=True),
    "nginx-rwsgi-gthread": Server("nginx + rwsgi gthread", behind_nginx(rwsgi_gthread), threads=4, behind_nginx=True),
    "nginx-gunicorn": Server("nginx + gunicorn sync", behind_nginx(gunicorn), behind_nginx=True),
    "nginx-gunicorn-gthread": Server("nginx + gunicorn gthread", behind_nginx(gunicorn), threads=4, behind_nginx=True),
    "nginx-granian": Server("nginx + granian", behind_nginx(granian), behind_nginx=True),
    "nginx-fastpysgi": Server("nginx + fastpysgi", behind_nginx(launched("fastpysgi")), behind_nginx=True),
    "nginx-bjoern": Server("nginx + bjoern", behind_nginx(launched("bjoern")), behind_nginx=True),
}
