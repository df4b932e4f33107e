# The objects that hooks are handed, as far as configurations in the wild look at them.
# notes: yes
import os

wsgi_app = "plain"
workers = 1
timeout = 45
proc_name = "named"


def note(*words):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(" ".join(map(str, words)) + "\n")


def on_starting(server):
    settings = server.cfg.settings
    note(settings["preload_app"].value, settings["timeout"].get(), settings["wsgi_app"].name, settings["spew"].value)
    note(len(settings["bind"].get()), server.cfg.uid == os.geteuid(), server.cfg.gid == os.getegid(), bool(server.cfg.is_ssl))
    server.cfg.set("keepalive", 9)
    note(server.cfg.keepalive, server.cfg.proc_name, server.cfg.worker_class_str, server.cfg.user == os.geteuid())
    try:
        server.cfg.set("nothing", 1)
    except AttributeError as error:
        note(error)


def post_worker_init(worker):
    note(worker.app.app_uri, worker.tmp.last_update() > 0, worker.tmp.fileno() > 2, worker.cfg.keepalive)
    worker.tmp.notify()


def pre_request(worker, req):
    note(req.path, req.cfg is worker.cfg, req.should_close(), req.must_close)


def post_request(worker, req, environ, resp):
    note(type(resp.must_close).__name__, type(resp.should_close()).__name__)
