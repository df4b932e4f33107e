"""What the figures were measured on: processor, kernel, versions. Asks the programs themselves."""

import contextlib
import os
import platform
import re
import subprocess
import time
from pathlib import Path

from processes import Refused
from servers import program

PACKAGES = ("gunicorn", "gunicorn_h1c", "uWSGI", "granian", "fastpysgi", "bjoern", "waitress", "cheroot", "Flask", "Django")


def described(options):
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read())
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_average": os.getloadavg()[0],
        "versions": versions(options),
    }


def versions(options):
    python = options.python / "bin" / "python"
    found = {"Python": said([python, "-c", "import platform; print(platform.python_version())"])}
    found["rwsgi"] = said([options.rwsgi, "--version"]).removeprefix("rwsgi ")
    commit = said(["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"])
    found["rwsgi"] += f" ({commit})" if commit else ""
    asking = "import sys\nfrom importlib.metadata import version\nfor name in sys.argv[1:]:\n try: print(name, version(name))\n except Exception: pass"
    found |= dict(line.split() for line in said([python, "-c", asking, *PACKAGES]).splitlines())
    for name, words, pattern in (
        ("nginx", ["nginx", "-v"], r"nginx/(\S+)"),
        ("Apache", ["apache2", "-v"], r"Apache/(\S+)"),
        ("wrk", ["wrk", "-v"], r"wrk (?:debian/)?(\S+)"),
        ("ab", ["ab", "-V"], r"Version (\S+)"),
    ):
        with contextlib.suppress(Refused):
            version = re.search(pattern, said([program(words[0]), *words[1:]]))
            found |= {name: version[1]} if version else {}
    mod_wsgi = re.search(r"^Version: (\S+)", said(["dpkg", "-s", "libapache2-mod-wsgi-py3"]), re.M)
    return found | ({"mod_wsgi": mod_wsgi[1]} if mod_wsgi else {})


def said(words):
    """Both outputs of a program, as some tell their version on the one and some on the other; nothing if there is none."""
    with contextlib.suppress(OSError):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip() if done.returncode in (0, 1) else ""
    return ""
