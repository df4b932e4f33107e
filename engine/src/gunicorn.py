"""What configuration files import of gunicorn, where that is not installed. The real package, where it is, comes first."""

import importlib.abc
import importlib.machinery
import sys

SOFTWARE = "gunicorn"
VERSION = (27, 0, 1)


class Arbiter:
    pass


class Worker:
    pass


class Request:
    pass


class Response:
    pass


class Config:
    """Enough of gunicorn.config.Config to be named in an annotation."""


class Setting:
    pass


class HaltServer(BaseException):
    def __init__(self, reason, exit_status=1):
        super().__init__(reason, exit_status)
        self.reason = reason
        self.exit_status = exit_status


class ConfigError(Exception):
    pass


class AppImportError(Exception):
    pass


NAMES = {
    "": {
        "SERVER": SOFTWARE,
        "SERVER_SOFTWARE": "%s/%s" % (SOFTWARE, ".".join(map(str, VERSION))),
        "__version__": ".".join(map(str, VERSION)),
        "version_info": VERSION,
    },
    "arbiter": {"Arbiter": Arbiter},
    "config": {"Config": Config, "Setting": Setting, "KNOWN_SETTINGS": []},
    "errors": {"HaltServer": HaltServer, "ConfigError": ConfigError, "AppImportError": AppImportError},
    # Made from its text when somebody imports it.
    "glogging": {},
    "http": {"Request": Request},
    "http.message": {"Request": Request},
    "http.wsgi": {"Response": Response},
    "util": {},
    "workers": {},
    "workers.base": {"Worker": Worker},
    "workers.gthread": {"ThreadWorker": Worker},
    "workers.sync": {"SyncWorker": Worker},
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        package, _, rest = name.partition(".")
        if package != "gunicorn" or rest not in NAMES:
            return None
        is_package = any(known.startswith(rest + ".") for known in NAMES) or not rest
        return importlib.machinery.ModuleSpec(name, self, origin="rwsgi", is_package=is_package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        rest = module.__name__.partition(".")[2]
        module.__dict__.update(NAMES[rest])
        if rest == "glogging":
            exec(compile(self.glogging, "<rwsgi glogging>", "exec"), module.__dict__)


def offer(glogging):
    finder = Finder()
    finder.glogging = glogging
    sys.meta_path.append(finder)
