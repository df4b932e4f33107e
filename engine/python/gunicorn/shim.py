"""The names that configuration files and applications import from gunicorn, where that is not installed. An installed package
comes first. Nothing here serves: the classes exist to be named, derived from and caught."""

import email.utils
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import time

SOFTWARE = "gunicorn"
VERSION = (27, 0, 1)
HINT = "\nhint: rwsgi has the names that configurations need of gunicorn; for others install gunicorn beside the application"


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
    """A class that annotations can name."""


class Setting:
    pass


class AccessLogFormat(Setting):
    name = "access_log_format"
    default = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


class BaseApplication:
    """The base class of programs that start gunicorn. They may be imported, and the application that they define be served."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError(ALREADY)

    def run(self):
        raise RuntimeError(ALREADY)


ALREADY = (
    "%s: a program that starts gunicorn cannot do so inside of rwsgi, which serves already\n"
    "hint: name the WSGI application itself, rwsgi module:application, and give rwsgi the options"
) % "gunicorn.app.base"


def run(*args, **kwargs):
    """Stands for gunicorn.app.wsgiapp.run, and raises."""
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
    """Returns the classes of gunicorn.http.errors, for code that catches them. None is ever raised."""
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
    """Returns the application `module:name`, or the result of a factory, `module:factory()`."""
    module, _, attribute = name.partition(":")
    found, called, _ = (attribute or "application").partition("(")
    value = getattr(importlib.import_module(module), found)
    return value() if called else value


def getcwd():
    """Returns the working directory under the name that the shell has for it."""
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
    """Returns the modules of gunicorn.workers. rwsgi knows their classes by their full names."""
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
    # Made from its text when it is imported, as gunicorn.instrument.statsd is.
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
    # A worker_class can be one of sync or gthread; for the others rwsgi says that it has no such workers.
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
    """Returns the `__getattr__` of a module. A package has none, because it is asked before its modules are looked for."""

    def __getattr__(name):
        if name.startswith("__"):
            raise AttributeError("module %r has no attribute %r" % (module, name))
        raise ImportError("cannot import name %r from %r, without the package gunicorn%s" % (name, module, HINT))

    return __getattr__


def offer(glogging, statsd):
    finder = Finder()
    finder.texts = {"glogging": glogging, "instrument.statsd": statsd}
    sys.meta_path.append(finder)
