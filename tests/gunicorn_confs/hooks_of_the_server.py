# notes: yes
import os

wsgi_app = "plain"


def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(word + "\n")


def when_ready(server):
    note("when_ready")


def child_exit(server, worker):
    note("child_exit")


def on_exit(server):
    note("on_exit")
