# A preloaded application is there when the hooks of the start are called, and what these leave is there in workers.
# notes: yes
import os
import sys

wsgi_app = "plain"
workers = 1
preload_app = True
SEEN = []


def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(word + "\n")


def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed %s" % ("plain" in sys.modules))


def on_starting(server):
    note("on_starting %s %s" % ("plain" in sys.modules, server.app.callable is sys.modules["plain"].application))
    server.begun = object()


def when_ready(server):
    note("when_ready %s" % ("plain" in sys.modules))
    import colorsys

    colorsys.ONE_THIRD = "changed"
    SEEN.append(server.begun)
    os.environ["READY"] = "yes"
    server.mark = SEEN


def post_fork(server, worker):
    import colorsys

    note(
        "post_fork %s %s %s"
        % (colorsys.ONE_THIRD, os.environ["READY"], server.mark is SEEN and SEEN == [server.begun])
    )
