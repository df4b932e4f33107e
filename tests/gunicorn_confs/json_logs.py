# log: access.log
# The access log as JSON for a collector, by Python's logging.
wsgi_app = "plain"
access_log_format = '{"time": "%(t)s", "client": "%(h)s", "request": "%(r)s", "status": %(s)s, "length": %(b)s, "taken": %(D)s}'
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "file": {"class": "logging.FileHandler", "filename": "access.log", "formatter": "line"},
    },
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["file"], "propagate": False},
    },
}
