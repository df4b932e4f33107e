"""The objects that hooks of a configuration file are handed. They have gunicorn's names, and take further attributes."""

import inspect
import os
import pickle
import struct
import sys
import time
import zlib


def address_of(bind):
    """Returns an address as Python's sockets have it: a path, or a host and a port."""
    if bind.startswith("unix:"):
        return bind[5:]
    host, _, port = bind.rpartition("://")[2].rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else bind


class Setting:
    """One setting, as gunicorn's hooks find it in `cfg.settings`."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def get(self):
        return self.value

    def set(self, value):
        self.value = value


class Config:
    """The settings, as attributes."""

    # Settings of gunicorn that rwsgi does not have, with gunicorn's defaults.
    ELSEWHERE = {
        "check_config": False,
        "config": "./gunicorn.conf.py",
        "http_parser": "auto",
        "http_protocols": ["h1"],
        "initgroups": False,
        "paste": None,
        "print_config": False,
        "protocol": "http",
        "sendfile": True,
        "spew": False,
        "tmp_upload_dir": None,
    }

    def __init__(self, values, hooks):
        every = dict(self.ELSEWHERE, **values)
        every["default_proc_name"] = every.get("wsgi_app")
        every.update(hooks)
        self.settings = {name: Setting(name, value) for name, value in every.items()}
        self.env = dict(pair.partition("=")[::2] for pair in values.get("raw_env") or ())
        self.address = [address_of(bind) for bind in values.get("bind") or ()]
        self.is_ssl = bool(values.get("certfile") or values.get("keyfile"))
        self.worker_class_str = values.get("worker_class")

    def __getattr__(self, name):
        try:
            return self.__dict__["settings"][name].get()
        except KeyError:
            raise AttributeError("No configuration setting for: %s" % name) from None

    def set(self, name, value):
        """Changes what hooks and loggers see of a setting. The server does not see it."""
        if name not in self.settings:
            raise AttributeError("No configuration setting for: %s" % name)
        self.settings[name].set(value)

    def put(self, values):
        """Sets values of settings that may be new."""
        for name, value in values.items():
            self.settings[name] = Setting(name, value)

    @property
    def uid(self):
        return self.user

    @property
    def gid(self):
        return self.group

    @property
    def ssl_options(self):
        names = ("certfile", "keyfile", "ca_certs", "cert_reqs", "ssl_version", "ciphers")
        return {name: getattr(self, name) for name in names}


class App:
    """The application, which is loaded when it is first asked for."""

    logger = None

    def __init__(self, cfg, load):
        self.cfg = cfg
        self.load = load
        self.app_uri = cfg.wsgi_app
        self.callable = None

    def wsgi(self):
        if self.callable is None:
            self.callable = self.load()
        return self.callable


class Listener:
    """A socket that the master has bound."""

    def __init__(self, name):
        self.name = name

    def getsockname(self):
        return address_of(self.name)

    def __str__(self):
        return self.name


class Server:
    """The master, as its hooks see it."""

    def __init__(self, cfg, log, facts):
        self.cfg = cfg
        self.log = log
        self.app = App(cfg, facts["load"])
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
        self.LISTENERS = [Listener(name) for name in facts["listeners"]]
        self.WORKERS = {}
        self.START_CTX = {"args": sys.argv, "cwd": os.getcwd(), 0: sys.executable}


class Heartbeat:
    """gunicorn's file by which a worker shows that it lives. rwsgi has a heartbeat of its own, so this one is always fresh."""

    def __init__(self):
        self.file = None

    def notify(self):
        """Does nothing."""

    def last_update(self):
        return time.monotonic()

    def fileno(self):
        if self.file is None:
            self.file = os.memfd_create("rwsgi heartbeat")
        return self.file

    def close(self):
        if self.file is not None:
            os.close(self.file)
            self.file = None


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
        self.tmp = Heartbeat()
        self.reloader = None

    def __str__(self):
        return "<Worker %s>" % self.pid

    def notify(self):
        """Does nothing. rwsgi has a heartbeat of its own."""


class Request:
    """A request before it becomes an environ."""

    fragment = ""
    trailers = ()
    body = None
    proxy_protocol_info = None
    req_number = 1
    must_close = False

    def __init__(self, facts, cfg=None):
        self.__dict__.update(facts)
        self.cfg = cfg
        self.headers = list(facts["headers"])
        self.given = facts
        self.remote_addr = self.peer_addr


    def should_close(self):
        """True if the connection ends with this request, as far as the client says."""
        if self.must_close:
            return True
        wish = next((value.lower().strip(" \t") for name, value in self.headers if name == "CONNECTION"), None)
        return {"close": True, "keep-alive": False}.get(wish, self.version <= (1, 0))


class Response:
    """A response that was sent, or could not be."""

    def __init__(self, req, status, headers, length, sent):
        self.req = req
        self.status = status
        self.status_code = int(status[:3])
        self.headers = headers
        self.headers_sent = sent
        self.response_length = None
        self.sent = length
        self.chunked = False
        self.must_close = req.must_close
        self.version = "rwsgi"

    def should_close(self):
        return self.must_close or self.req.should_close()


def variable(name):
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def change(req, environ):
    """Changes the environ as a pre_request hook has changed the request."""
    given = req.given
    if req.headers != given["headers"]:
        changed = {variable(name) for name, _ in set(req.headers) ^ set(given["headers"])}
        # Names with an underscore, and the body's length, were checked before.
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


def resolve(name, value, takes, file):
    """Returns a hook, which may be given by its dotted name. Raises TypeError if there is none, or if it does not take its
    arguments. `file` may have a line behind it."""
    if isinstance(value, str):
        module, _, attribute = value.rpartition(".")
        try:
            value = getattr(__import__(module, fromlist=[attribute]), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise TypeError("%s: %s: expected the dotted name of a function, found %r: %s" % (file, name, value, error)) from None
    if not callable(value):
        raise TypeError("%s: %s: expected a function, found a value of type %s" % (file, name, type(value).__name__))
    try:
        signature = inspect.signature(value)
        for count in takes:
            try:
                signature.bind(*[None] * count)
                break
            except TypeError:
                pass
        else:
            raise TypeError("%s: %s: expected a function of %d argument%s, found %s\nhint: def %s(%s):"
                            % (file, name, takes[-1], "s" * (takes[-1] > 1), signature, name, parameters(name, takes[0])))
    except ValueError:
        # Some builtins have no signature.
        pass
    return value


def parameters(name, count):
    """Returns the usual names of a hook's parameters."""
    if name == "nworkers_changed":
        return "server, new_value, old_value"
    if name.endswith("_request"):
        return ", ".join(("worker", "req", "environ", "resp")[:count])
    only = "worker" if name in ("post_worker_init", "worker_int", "worker_abort") else "server"
    return "server, worker" if count == 2 else only


def places(function):
    """Returns the number of arguments that a post_request hook takes of (worker, req, environ, resp)."""
    code = getattr(function, "__code__", None)
    if code is None:
        function = getattr(function, "__call__", function)
        code = getattr(getattr(function, "__func__", function), "__code__", None)
    count = code.co_argcount if code else 4
    return max(2, min(4, count - (1 if hasattr(function, "__self__") and code else 0)))


def parent_of(pid):
    """Returns the parent of a process, or 0 if there is no such process."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Memory:
    """A file in memory with the attributes that hooks have set on `server` and on workers, for the process that takes over at a
    reload or when this one dies. A reader that comes during a write sees that by the checksum."""

    HEADER = struct.Struct("<QQ")
    MOST = 1 << 26

    def __init__(self, fd):
        self.fd = fd

    def save(self, state):
        whole = pickle.dumps(state)
        rest = memoryview(whole)
        while rest:
            rest = rest[os.pwrite(self.fd, rest, self.HEADER.size + len(whole) - len(rest)) :]
        os.pwrite(self.fd, self.HEADER.pack(len(whole), zlib.crc32(whole)), 0)

    def load(self):
        for _ in range(100):
            header = os.pread(self.fd, self.HEADER.size, 0)
            if len(header) < self.HEADER.size:
                return None
            length, total = self.HEADER.unpack(header)
            whole = os.pread(self.fd, min(length, self.MOST), self.HEADER.size)
            if len(whole) == length and zlib.crc32(whole) == total:
                return pickle.loads(whole)
            time.sleep(0.01)
        return None


def pickled(thing, known, name, lost):
    """Returns the attributes that hooks have added, each pickled. Those that cannot be pickled are noted in `lost`."""
    attributes = {}
    for attribute, value in vars(thing).items():
        if attribute not in known:
            try:
                attributes[attribute] = pickle.dumps(value)
            except Exception as error:
                lost["%s.%s" % (name, attribute)] = "%s: %s" % (type(error).__name__, error)
    return attributes


class Hooks:
    """The functions of a file, and the objects that they are called with."""

    # The numbers of arguments of hooks that do not take exactly one.
    TAKES = {
        "nworkers_changed": (3,),
        "pre_fork": (2,),
        "post_fork": (2,),
        "pre_request": (2,),
        "post_request": (4, 3, 2),
        "worker_exit": (2,),
        "child_exit": (2,),
    }
    # Changes that these make to os.environ last in gunicorn's master.
    LASTING = ("nworkers_changed", "on_starting", "on_reload", "when_ready")

    def __init__(self, values, names, facts):
        file = names.get("__file__")
        defined = [name for name in facts["hooks"] if names.get(name) is not None]
        where = {name: "%s:%d" % (file, facts["lines"][name]) if facts["lines"].get(name) else file for name in defined}
        self.functions = {name: resolve(name, names[name], self.TAKES.get(name, (1,)), where[name]) for name in defined}
        self.cfg = facts["cfg"] or Config(values, {})
        self.cfg.put(self.functions)
        self.log = facts["log"]
        self.server = Server(self.cfg, self.log, facts)
        self.worker = None
        self.memory = Memory(facts["memory"])
        self.known = (set(vars(self.server)), set(vars(Worker(self.server, 0, 0))))
        self.environ = {}
        self.imported = []
        self.has_remembered = False
        self.after_places = places(self.functions["post_request"]) if "post_request" in self.functions else 0

    def log_by(self, log, cfg):
        """Sets the loggers of the settings, which were made after rights were dropped."""
        self.log = self.server.log = log
        if cfg is not None:
            cfg.put(self.functions)
            self.cfg = self.server.cfg = self.server.app.cfg = cfg

    def has(self, name):
        return name in self.functions

    def call(self, name):
        """Calls a hook of a worker, if there is one, with its arguments."""
        function = self.functions.get(name)
        if function is None:
            return
        if name in ("post_worker_init", "worker_int", "worker_abort"):
            function(self.worker)
        else:
            function(self.server, self.worker)

    # In the processes that take the place of gunicorn's master.

    def getppid(self):
        """Returns the parent of the master, as in gunicorn's master."""
        return parent_of(self.server.pid)

    def in_master(self, name, *arguments):
        """Calls a hook of the master, if there is one."""
        function = self.functions.get(name)
        if function is None:
            return
        real, os.getppid = os.getppid, self.getppid
        before = dict(os.environ) if name in self.LASTING else None
        try:
            function(self.server, *arguments)
        finally:
            os.getppid = real
            if before is not None:
                self.note_environ(before)

    def note_environ(self, before):
        for name in before.keys() | os.environ.keys():
            old, new = before.get(name), os.environ.get(name)
            if old != new:
                self.environ[name] = (self.environ.get(name, (old,))[0], new)

    def begin(self, before):
        """Calls the first hook. `before` is the number of workers that were wanted before."""
        self.in_master("nworkers_changed", self.server.num_workers, before)

    def preloaded(self, application):
        """Notes the application, which was loaded before the hooks that follow."""
        self.server.app.callable = application

    def when_ready(self):
        """Calls when_ready, and notes the modules that it imports."""
        before = set(sys.modules)
        self.in_master("when_ready")
        self.imported = sorted(set(sys.modules) - before)

    def warn_of_lost(self):
        """Warns, after a reload, of modules that when_ready has imported in the process before this one."""
        lost = [name for name in self.imported if name not in sys.modules]
        if lost:
            names = ", ".join(lost[:5]) + (" and %d more" % (len(lost) - 5) if len(lost) > 5 else "")
            self.log.warning("when_ready is called once, at the start: modules that it imported, and what it set in them, are "
                             "not there in workers of this reload: %s", names)

    def stay(self):
        """Notes that this process lives as long as the server. Threads of when_ready may ask for its parent."""
        os.getppid = self.getppid

    def fork(self, age, max_requests):
        """Calls pre_fork, before a worker is forked."""
        self.server.worker_age = age
        self.worker = Worker(self.server, age, max_requests)
        self.in_master("pre_fork", self.worker)

    def started(self, pid):
        """Notes the pid of that worker."""
        self.worker.pid = pid
        self.server.WORKERS[pid] = self.worker
        self.save()

    def workers(self, new, old):
        self.server.num_workers = new
        self.in_master("nworkers_changed", new, old)
        self.save()

    def leaving(self, age):
        """Notes that the worker of this age was told to end, so that hooks may give its resources to another one."""
        for worker in self.server.WORKERS.values():
            if worker.age == age:
                worker.alive = False
        self.save()

    def exited(self, age, pid, call):
        worker = next((worker for worker in self.server.WORKERS.values() if worker.age == age), None)
        if worker is not None:
            del self.server.WORKERS[worker.pid]
        elif pid is not None:
            # It was forked by an earlier zygote.
            worker = Worker(self.server, age, 0)
            worker.pid = pid
        try:
            if call and worker is not None:
                self.in_master("child_exit", worker)
        finally:
            self.save()

    def save(self):
        server, worker = self.known
        lost = {}
        workers = [
            (pid, one.age, one.alive, pickled(one, worker, "worker", lost)) for pid, one in self.server.WORKERS.items()
        ]
        state = {"server": pickled(self.server, server, "server", lost), "workers": workers, "environ": self.environ}
        self.memory.save(dict(state, lost=lost, imported=self.imported))

    def remember(self, fd):
        """Loads the data of an earlier process. Attributes that exist are kept."""
        if self.has_remembered:
            return
        self.has_remembered = True
        own = self.memory.load()
        state = own or (Memory(fd).load() if fd >= 0 else None)
        if state is None:
            return
        self.environ, self.imported = state["environ"], state["imported"]
        for name, (before, after) in self.environ.items():
            if os.environ.get(name) == before:
                if after is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = after
        self.restore(self.server, state["server"], "server", state["lost"])
        for pid, age, alive, attributes in state["workers"]:
            # The end of a worker was reported to the zygote before, or will be to this one if that has died.
            is_there = parent_of(pid) == self.server.pid
            if is_there or own:
                worker = self.server.WORKERS[pid] = Worker(self.server, age, 0)
                worker.pid, worker.alive = pid, alive and is_there
                self.restore(worker, attributes, "worker", state["lost"])
        for name, why in state["lost"].items():
            self.log.warning("%s cannot be pickled for the next process, whose hooks begin without it: %s", name, why)

    def restore(self, thing, attributes, name, lost):
        for attribute, value in attributes.items():
            if not hasattr(thing, attribute):
                try:
                    setattr(thing, attribute, pickle.loads(value))
                except Exception as error:
                    lost["%s.%s" % (name, attribute)] = "%s: %s" % (type(error).__name__, error)

    # In a worker.

    def forked(self):
        """Notes that this process is the worker."""
        self.worker.pid = os.getpid()

    def abort(self):
        """Calls worker_abort."""
        self.worker.aborted = True
        self.call("worker_abort")

    def loaded(self, application):
        """Calls post_worker_init. Returns the application, which that hook may have wrapped."""
        self.server.app.callable = self.worker.wsgi = application
        self.call("post_worker_init")
        self.worker.booted = True
        return self.worker.wsgi

    change = staticmethod(change)

    def before(self, facts):
        req = Request(facts, self.cfg)
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
