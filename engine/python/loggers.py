"""Python's logging in rwsgi: the loggers of gunicorn, and classes that write the access log."""

import logging

# Names of classes that are not imported.
USUAL = ("simple", "gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd")
# The path in records of the server itself.
OWN = "(rwsgi)"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class Handler(logging.Handler):
    """Passes records of Python's logging to a log of rwsgi."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def emit(self, record):
        try:
            self.write(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)


class Log:
    """The part of gunicorn's logger that hooks and applications use. It writes to rwsgi's logs."""

    def __init__(self, level, write, write_access):
        self.error_log = logging.getLogger("gunicorn.error")
        self.access_log = logging.getLogger("gunicorn.access")
        for log, writer, weight in ((self.error_log, write, LEVELS[level]), (self.access_log, write_access, 20)):
            log.handlers[:] = [Handler(writer)]
            log.propagate = False
            log.setLevel(weight)
        self.loglevel = self.error_log.level
        for name in ("critical", "error", "warning", "info", "debug", "exception", "log"):
            setattr(self, name, getattr(self.error_log, name))
        self.warn = self.warning


def one_line(wrapper, is_json):
    """Derives from gunicorn's mapping of atoms one whose values cannot end a line or break an object of JSON."""
    short = "\\u%04x" if is_json else "\\x%02x"

    def safe(value):
        if is_json:
            value = value.replace("\\", "\\\\")
        if value.isprintable():
            return value
        # Characters beyond ASCII stay, as in gunicorn, unless they move the cursor or end a line somewhere.
        return "".join(char if char.isprintable() else (short if char < "\u0100" else "\\u%04x") % ord(char) for char in value)

    class Atoms(wrapper):
        def __init__(self, atoms):
            super().__init__({key: safe(value) if isinstance(value, str) else value for key, value in atoms.items()})

    return Atoms


def resolve(given):
    """Returns the class of a dotted name. Other values are returned as they are."""
    if not isinstance(given, str):
        return given
    module, _, name = given.rpartition(".")
    if not module:
        raise ImportError("expected the dotted name of a class, found %r" % given)
    return getattr(__import__(module, fromlist=[name]), name)


def construct(given, cfg):
    """Makes an instance of a logger class, as gunicorn does."""
    from gunicorn import glogging

    maker = glogging.Logger if given in USUAL else resolve(given)
    if not callable(maker):
        raise TypeError("expected a class, found a value of type %s" % type(maker).__name__)
    cfg.put({"logger_class": maker, "statsd_host": statsd_address(cfg.statsd_host)})
    log = maker(cfg)
    if hasattr(log, "_sock_send"):
        log._sock_send = all_but_ours(log._sock_send, getattr(log, "prefix", ""))
    for handler in getattr(getattr(log, "error_log", None), "handlers", ()):
        # Such a handler would write a line of the server as it is in the same error log already.
        shape = handler.formatter
        if getattr(handler, "_gunicorn", False) and type(shape) is logging.Formatter and shape._fmt == glogging.Logger.error_fmt:
            handler.addFilter(lambda record: record.pathname != OWN)
    wrapper = getattr(log, "atoms_wrapper_class", None)
    if wrapper is not None and wrapper is getattr(glogging, "SafeAtoms", None):
        log.atoms_wrapper_class = one_line(wrapper, cfg.access_log_format.strip().startswith("{"))
    return log


def statsd_address(text):
    """Returns an address of statsd as gunicorn's loggers have it: a path, or a host and a port."""
    if not text or text.startswith("unix://"):
        return text and text[7:]
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    return (host.strip("[]"), int(port)) if colon and "]" not in port else (text.strip("[]"), 8125)


def all_but_ours(send, prefix):
    """Drops the metrics that rwsgi itself sends to statsd, so that requests, log lines and workers are counted once."""
    ours = tuple(prefix + name for name in ("gunicorn.request", "gunicorn.log.", "gunicorn.workers", "gunicorn.backlog"))

    def _sock_send(msg):
        if not (msg.decode("latin-1") if isinstance(msg, bytes) else msg).startswith(ours):
            send(msg)

    return _sock_send


def find(path):
    """Raises if the file cannot be opened. fileConfig takes a missing file for an empty one."""
    open(path).close()


def reopen_files_of(loggers):
    """Opens the files of the loggers' handlers again, because they may have been renamed."""
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            try:
                if handler.stream:
                    handler.close()
                    handler.stream = handler._open()
            finally:
                handler.release()


def reopen(log):
    """Opens the files of all handlers again."""
    others = [logging.getLogger()]
    if hasattr(log, "reopen_files"):
        # A logger class may do more, or write to something that is not a handler.
        log.reopen_files()
    else:
        others += [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    reopen_files_of(others)


def access(log, classes, req, environ, status, headers, length, sent, microseconds):
    """Logs a request that was answered. `req` is the request of a pre_request hook, or the facts of the request."""
    from datetime import timedelta

    if isinstance(req, dict):
        req = classes.Request(req, log.cfg if hasattr(log, "cfg") else None)
    if environ is None:
        environ = {
            "REMOTE_ADDR": req.peer_addr[0] if req.peer_addr else "",
            "REQUEST_METHOD": req.method,
            "RAW_URI": req.uri,
            "PATH_INFO": req.path,
            "QUERY_STRING": req.query,
            "SERVER_PROTOCOL": "HTTP/%d.%d" % req.version,
        }
    resp = classes.Response(req, status, headers, length, sent)
    log.access(resp, req, environ, timedelta(microseconds=microseconds))


def relay(log, lines):
    """Logs lines of the server itself: level, text, process and time of each."""
    logger = getattr(log, "error_log", None) or logging.getLogger("gunicorn.error")
    for level, text, pid, created in lines:
        if logger.isEnabledFor(level):
            record = logger.makeRecord(logger.name, level, OWN, 0, text, (), None)
            record.process, record.created, record.msecs = pid, created, created % 1 * 1000
            logger.handle(record)


def exception(log, line, error, traceback):
    """Logs an exception of the application. Before Python 3.12 the exception does not carry its traceback."""
    log.exception("Error handling request %s", line, exc_info=(type(error), error, traceback))
