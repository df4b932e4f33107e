"""What configuration files and applications import of gunicorn, where that is not installed. The real package, where it is,
comes first. Nothing here serves: classes are there to be named, derived from and caught."""

import email.utils
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import time

SOFTWARE = "gunicorn"
VERSION = (27, 0, 1)
HINT = "\nhint: rwsgi has what configurations need of gunicorn; for more install that beside the application"


class Arbiter:
    pass


class Worker:
    def __init__(self, *args, **kwargs):
        raise RuntimeError("gunicorn's workers do not run in rwsgi, which has its own" + HINT)


class Request:
    pass


class Response:
    pass


class Config:
    """Enough of gunicorn.config.Config to be named in an annotation."""


class Setting:
    pass


class AccessLogFormat(Setting):
    name = "access_log_format"
    default = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


class BaseApplication:
    """gunicorn as a part of a program. The program may be imported, and the application that it defines be served."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError(ALREADY)

    def run(self):
        raise RuntimeError(ALREADY)


ALREADY = (
    "%s: a program that starts gunicorn cannot do so inside of rwsgi, which serves already\n"
    "hint: name the WSGI application itself, rwsgi module:application, and give rwsgi the options"
) % "gunicorn.app.base"


def run(*args, **kwargs):
    """gunicorn.app.wsgiapp.run"""
    raise RuntimeError(ALREADY)


class HaltServer(BaseException):
    def __init__(self, reason, exit_status=1):
        super().__init__(reason, exit_status)
        self.reason = reason
        self.exit_status = exit_status


class ConfigError(Exception):
    pass


class AppImportError(Exception):
    pass


def errors_of_requests():
    """gunicorn.http.errors: for those who catch them. None is ever raised."""
    parse = type("ParseException", (Exception,), {})
    names = (
        "NoMoreData ConfigurationProblem InvalidRequestLine InvalidRequestMethod InvalidHTTPVersion InvalidHeader"
        " ObsoleteFolding InvalidHeaderName UnsupportedTransferCoding InvalidChunkSize ChunkMissingTerminator"
        " LimitRequestLine LimitRequestHeaders InvalidProxyLine InvalidProxyHeader ForbiddenProxyRequest"
        " InvalidSchemeHeaders ExpectationFailed"
    )
    bases = {"NoMoreData": (IOError,), "ChunkMissingTerminator": (IOError,), "InvalidChunkSize": (IOError,)}
    found = {name: type(name, bases.get(name, (parse,)), {}) for name in names.split()}
    return dict(found, ParseException=parse)


def import_app(name):
    """The application `module:name`, or what a call of it answers: `module:factory()`."""
    module, _, attribute = name.partition(":")
    found, called, _ = (attribute or "application").partition("(")
    value = getattr(importlib.import_module(module), found)
    return value() if called else value


def getcwd():
    """The working directory, by the name that the shell has for it."""
    try:
        named, real = os.stat(os.environ["PWD"]), os.stat(os.getcwd())
        return os.environ["PWD"] if (named.st_ino, named.st_dev) == (real.st_ino, real.st_dev) else os.getcwd()
    except (KeyError, OSError):
        return os.getcwd()


def http_date(timestamp=None):
    return email.utils.formatdate(time.time() if timestamp is None else timestamp, usegmt=True)


def close(sock):
    try:
        sock.close()
    except OSError:
        pass


def worker_classes(**modules):
    """The modules of gunicorn.workers: their classes are known to rwsgi by their whole names."""
    made = {}
    for module, names in modules.items():
        whole = "gunicorn.workers." + module
        made["workers." + module] = {name: type(name, (Worker,), {"__module__": whole}) for name in names.split()}
    return made


NAMES = {
    "": {
        "SERVER": SOFTWARE,
        "SERVER_SOFTWARE": "%s/%s" % (SOFTWARE, ".".join(map(str, VERSION))),
        "__version__": ".".join(map(str, VERSION)),
        "version_info": VERSION,
    },
    "app": {},
    "app.base": {"BaseApplication": BaseApplication, "Application": BaseApplication},
    "app.wsgiapp": {"WSGIApplication": BaseApplication, "run": run},
    "arbiter": {"Arbiter": Arbiter},
    "config": {"Config": Config, "Setting": Setting, "AccessLogFormat": AccessLogFormat, "KNOWN_SETTINGS": []},
    "errors": {"HaltServer": HaltServer, "ConfigError": ConfigError, "AppImportError": AppImportError},
    # Made from its text when somebody imports it; so is gunicorn.instrument.statsd.
    "glogging": {},
    "http": {"Request": Request},
    "http.errors": errors_of_requests(),
    "http.message": {"Request": Request},
    "http.wsgi": {"Response": Response},
    "instrument": {},
    "instrument.statsd": {},
    "util": {"import_app": import_app, "getcwd": getcwd, "http_date": http_date, "close": close},
    "workers": {"SUPPORTED_WORKERS": {"sync": "gunicorn.workers.sync.SyncWorker", "gthread": "gunicorn.workers.gthread.ThreadWorker"}},
    "workers.base": {"Worker": Worker},
    # Those of sync and gthread can be a worker_class; rwsgi says so where one of the others is.
    **worker_classes(
        sync="SyncWorker",
        gthread="ThreadWorker",
        ggevent="GeventWorker GeventPyWSGIWorker",
        geventlet="EventletWorker",
        gtornado="TornadoWorker",
    ),
}


def is_package(rest):
    return not rest or any(known.startswith(rest + ".") for known in NAMES)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        package, _, rest = name.partition(".")
        if package != "gunicorn":
            return None
        if rest not in NAMES:
            raise ModuleNotFoundError("No module named %r, without the package gunicorn%s" % (name, HINT), name=name)
        return importlib.machinery.ModuleSpec(name, self, origin="rwsgi", is_package=is_package(rest))

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        rest = module.__name__.partition(".")[2]
        module.__dict__.update(NAMES[rest])
        if rest in self.texts:
            exec(compile(self.texts[rest], "<rwsgi %s>" % rest, "exec"), module.__dict__)
        if not is_package(rest):
            module.__getattr__ = missing(module.__name__)


def missing(module):
    """What a module answers that is asked for a name that it has not. Packages are asked before their modules are looked for."""

    def __getattr__(name):
        if name.startswith("__"):
            raise AttributeError("module %r has no attribute %r" % (module, name))
        raise ImportError("cannot import name %r from %r, without the package gunicorn%s" % (name, module, HINT))

    return __getattr__


def offer(glogging, statsd):
    finder = Finder()
    finder.texts = {"glogging": glogging, "instrument.statsd": statsd}
    sys.meta_path.append(finder)
