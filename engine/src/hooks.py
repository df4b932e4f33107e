"""What hooks of a configuration file are handed: ordinary objects, with gunicorn's names, that take further attributes."""

import os
import sys


class Config:
    """The settings, as attributes."""

    def __init__(self, values, hooks):
        self.settings = dict(values, **hooks)
        self.env = dict(pair.partition("=")[::2] for pair in values.get("raw_env") or ())
        self.address = list(values.get("bind") or ())
        self.is_ssl = False
        self.worker_class_str = values.get("worker_class")

    def __getattr__(self, name):
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError("no setting has the name %r" % name) from None


class App:
    """What serves."""

    def __init__(self, cfg):
        self.cfg = cfg
        self.callable = None

    def wsgi(self):
        return self.callable


class Server:
    """The master, as its hooks see it."""

    def __init__(self, cfg, log, facts):
        self.cfg = cfg
        self.log = log
        self.app = App(cfg)
        self.pid = facts["master"]
        self.address = cfg.address
        self.num_workers = cfg.workers
        self.timeout = cfg.timeout
        self.proc_name = facts["title"]
        self.worker_class = cfg.worker_class
        self.worker_age = 0
        self.master_pid = 0
        self.master_name = "Master"
        self.reexec_pid = 0
        self.pidfile = cfg.pidfile
        self.systemd = False
        self.LISTENERS = []
        self.WORKERS = {}
        self.START_CTX = {"args": sys.argv, "cwd": os.getcwd(), 0: sys.executable}


class Worker:
    """A worker, from before its fork to its end."""

    def __init__(self, server, age, max_requests):
        self.pid = "[booting]"
        self.ppid = server.pid
        self.age = age
        self.nr = 0
        self.max_requests = max_requests or sys.maxsize
        self.alive = True
        self.booted = False
        self.aborted = False
        self.timeout = server.timeout / 2
        self.cfg = server.cfg
        self.log = server.log
        self.app = server.app
        self.wsgi = None
        self.sockets = server.LISTENERS
        self.tmp = None
        self.reloader = None

    def __str__(self):
        return "<Worker %s>" % self.pid

    def notify(self):
        """The heartbeat is rwsgi's own affair."""


class Request:
    """A request before it becomes an environ."""

    fragment = ""
    trailers = ()
    body = None
    proxy_protocol_info = None

    def __init__(self, facts):
        self.__dict__.update(facts)
        self.headers = list(facts["headers"])
        self.given = facts
        self.remote_addr = self.peer_addr


class Response:
    """What was answered."""

    def __init__(self, req, status, headers, length, sent):
        self.req = req
        self.status = status
        self.status_code = int(status[:3])
        self.headers = headers
        self.headers_sent = sent
        self.response_length = None
        self.sent = length
        self.chunked = False
        self.version = "rwsgi"


def variable(name):
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def change(req, environ):
    """What a pre_request hook has changed in the request is changed in the environ."""
    given = req.given
    if req.headers != given["headers"]:
        changed = {variable(name) for name, _ in set(req.headers) ^ set(given["headers"])}
        # A name that came with an underscore has been judged already, and so has the body's length.
        known = {pair for pair in given["headers"] if "_" in pair[0]}
        for key in changed - {"CONTENT_LENGTH"}:
            values = [value for name, value in req.headers if variable(name) == key and (name, value) not in known]
            environ.pop(key, None)
            if values:
                environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(values)
    for name, key in (("scheme", "wsgi.url_scheme"), ("method", "REQUEST_METHOD"), ("query", "QUERY_STRING")):
        if getattr(req, name) != given[name]:
            environ[key] = getattr(req, name)
    if req.path != given["path"]:
        environ["PATH_INFO"] = req.path


def resolve(name, value):
    """A hook may be named by a dotted name."""
    if isinstance(value, str):
        module, _, attribute = value.rpartition(".")
        value = getattr(__import__(module, fromlist=[attribute]), attribute)
    if not callable(value):
        raise TypeError("%s: expected a function, found a value of type %s" % (name, type(value).__name__))
    return value


def places(function):
    """How many of (worker, req, environ, resp) a post_request hook takes."""
    code = getattr(function, "__code__", None)
    if code is None:
        function = getattr(function, "__call__", function)
        code = getattr(getattr(function, "__func__", function), "__code__", None)
    count = code.co_argcount if code else 4
    return max(2, min(4, count - (1 if hasattr(function, "__self__") and code else 0)))


class Hooks:
    """The functions of a file, and what they are called with."""

    def __init__(self, values, names, facts):
        self.functions = {name: resolve(name, names[name]) for name in facts["hooks"] if names.get(name) is not None}
        self.cfg = facts["cfg"] or Config(values, {})
        self.cfg.settings.update(self.functions)
        self.log = facts["log"]
        self.server = Server(self.cfg, self.log, facts)
        self.worker = None
        self.after_places = places(self.functions["post_request"]) if "post_request" in self.functions else 0

    def has(self, name):
        return name in self.functions

    def call(self, name):
        """Calls a hook, if there is one, with what it takes."""
        function = self.functions.get(name)
        if function is None:
            return
        if name == "nworkers_changed":
            function(self.server, self.server.num_workers, None)
        elif name in ("post_worker_init", "worker_int", "worker_abort"):
            function(self.worker)
        elif name in ("pre_fork", "post_fork", "worker_exit", "child_exit"):
            function(self.server, self.worker)
        else:
            function(self.server)

    def fork(self, age, max_requests):
        """A worker is about to be forked."""
        self.server.worker_age = age
        self.worker = Worker(self.server, age, max_requests)

    def forked(self):
        """This process is the worker."""
        self.worker.pid = os.getpid()

    def loaded(self, application):
        """The application, which post_worker_init may wrap."""
        self.server.app.callable = self.worker.wsgi = application
        self.call("post_worker_init")
        self.worker.booted = True
        return self.worker.wsgi

    change = staticmethod(change)

    def before(self, facts):
        req = Request(facts)
        function = self.functions.get("pre_request")
        if function is not None:
            function(self.worker, req)
        return req

    def after(self, req, environ, status, headers, length, sent):
        self.worker.nr += 1
        function = self.functions.get("post_request")
        if function is not None:
            resp = Response(req, status, headers, length, sent) if status else None
            function(*(self.worker, req, environ, resp)[: self.after_places])
