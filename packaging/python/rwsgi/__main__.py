"""`python -m rwsgi ...` is `rwsgi ...` with this Python, unless something else is said."""

import os
import shutil
import sys
import sysconfig


def directories():
    """Where installers put programs: beside this Python's own scripts, those of the user, and beside this package."""
    yield sysconfig.get_path("scripts")
    yield sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin")


def find():
    """The program: in one of these directories, or on PATH."""
    beside = [os.path.join(directory, "rwsgi") for directory in directories()]
    return next((file for file in beside if os.access(file, os.X_OK)), None) or shutil.which("rwsgi")


def main():
    program = find()
    if program is None:
        places = "%s or on PATH" % sysconfig.get_path("scripts")
        sys.exit("rwsgi: expected the program in %s, found it in neither\nhint: copy it to one of them" % places)
    environ = dict(os.environ)
    environ.setdefault("RWSGI_PYTHON", sys.executable)
    os.execve(program, [program] + sys.argv[1:], environ)


main()
