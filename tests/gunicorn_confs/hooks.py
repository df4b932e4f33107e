# Hooks, as far as those of the server itself are not concerned.
# notes: yes
import os

wsgi_app = "plain"
workers = 1


def note(word):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(word + "\n")


def on_starting(server):
    note("on_starting")


def pre_fork(server, worker):
    note("pre_fork %d" % worker.age)


def post_fork(server, worker):
    note("post_fork %d" % worker.age)


def post_worker_init(worker):
    note("post_worker_init")


def pre_request(worker, req):
    note("pre_request %s %s" % (req.method, req.path))
    req.headers.append(("X-HOOK", "added"))


def post_request(worker, req, environ, resp):
    # What the status of a failure is, the guide says.
    note("post_request of a failure" if req.path == "/raises" else "post_request %s" % resp.status)


def worker_exit(server, worker):
    note("worker_exit")


def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed %s %s" % (new_value, old_value))
