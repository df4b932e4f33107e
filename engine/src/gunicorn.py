"""What configuration files import of gunicorn, where that is not installed. The real package, where it is, comes first."""

import importlib.abc
import importlib.machinery
import logging
import sys

SOFTWARE = "gunicorn"
VERSION = (27, 0, 1)


class Logger:
    """Enough of gunicorn.glogging.Logger to be subclassed and constructed."""

    error_fmt = r"%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
    datefmt = r"[%Y-%m-%d %H:%M:%S %z]"
    access_fmt = "%(message)s"

    def __init__(self, cfg):
        self.error_log = logging.getLogger("gunicorn.error")
        self.access_log = logging.getLogger("gunicorn.access")
        self.cfg = cfg
        self.setup(cfg)

    def setup(self, cfg):
        pass

    def __getattr__(self, name):
        if name in ("critical", "error", "warning", "info", "debug", "exception", "log"):
            return getattr(self.error_log, name)
        raise AttributeError(name)


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
    "glogging": {"Logger": Logger, "CONFIG_DEFAULTS": {}},
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
        module.__dict__.update(NAMES[module.__name__.partition(".")[2]])


def offer():
    sys.meta_path.append(Finder())
