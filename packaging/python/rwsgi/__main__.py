"""`python -m rwsgi ...` is `rwsgi ...` with this Python, unless something else is said."""

import os
import shutil
import sys
import sysconfig


def find():
    """The program: beside this Python's own scripts, or on PATH."""
    beside = os.path.join(sysconfig.get_path("scripts"), "rwsgi")
    return beside if os.access(beside, os.X_OK) else shutil.which("rwsgi")


def main():
    program = find()
    if program is None:
        places = "%s or on PATH" % sysconfig.get_path("scripts")
        sys.exit("rwsgi: expected the program in %s, found it in neither\nhint: copy it to one of them" % places)
    environ = dict(os.environ)
    environ.setdefault("RWSGI_PYTHON", sys.executable)
    os.execve(program, [program] + sys.argv[1:], environ)


main()
