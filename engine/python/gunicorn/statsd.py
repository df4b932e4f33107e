"""gunicorn.instrument.statsd, where gunicorn is not installed: a logger that sends metrics to statsd, to be derived from."""

import logging
import socket

from gunicorn.glogging import Logger

METRIC_VAR = "metric"
VALUE_VAR = "value"
MTYPE_VAR = "mtype"
GAUGE_TYPE = "gauge"
COUNTER_TYPE = "counter"
HISTOGRAM_TYPE = "histogram"
TIMER_TYPE = "timer"


class Statsd(Logger):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.prefix = cfg.statsd_prefix.rstrip(".") + "." if cfg.statsd_prefix else ""
        self.dogstatsd_tags = cfg.dogstatsd_tags
        host = cfg.statsd_host
        family = socket.AF_UNIX if isinstance(host, str) else socket.AF_INET6 if host and ":" in host[0] else socket.AF_INET
        self.sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.connect(host)
            self.sock = sock
        except (OSError, TypeError):
            # Not reported, as in gunicorn.
            pass

    def critical(self, msg, *args, **kwargs):
        super().critical(msg, *args, **kwargs)
        self.increment("gunicorn.log.critical", 1)

    def error(self, msg, *args, **kwargs):
        super().error(msg, *args, **kwargs)
        self.increment("gunicorn.log.error", 1)

    def warning(self, msg, *args, **kwargs):
        super().warning(msg, *args, **kwargs)
        self.increment("gunicorn.log.warning", 1)

    def exception(self, msg, *args, **kwargs):
        super().exception(msg, *args, **kwargs)
        self.increment("gunicorn.log.exception", 1)

    def info(self, msg, *args, **kwargs):
        self.log(logging.INFO, msg, *args, **kwargs)

    def debug(self, msg, *args, **kwargs):
        self.log(logging.DEBUG, msg, *args, **kwargs)

    def log(self, lvl, msg, *args, **kwargs):
        extra = kwargs.get("extra") or {}
        metric, value, kind = (extra.get(name) for name in (METRIC_VAR, VALUE_VAR, MTYPE_VAR))
        ways = {
            GAUGE_TYPE: self.gauge,
            COUNTER_TYPE: self.increment,
            HISTOGRAM_TYPE: self.histogram,
            TIMER_TYPE: self.timer,
        }
        if metric and value is not None and kind in ways:
            ways[kind](metric, value)
        if msg:
            super().log(lvl, msg, *args, **kwargs)

    def access(self, resp, req, environ, request_time):
        super().access(resp, req, environ, request_time)
        status = resp.status
        if isinstance(status, bytes):
            status = status.decode("utf-8")
        self.timer("gunicorn.request.duration", request_time.total_seconds() * 1000)
        self.increment("gunicorn.requests", 1)
        self.increment("gunicorn.request.status.%d" % int(str(status).split(None, 1)[0]), 1)

    def gauge(self, name, value):
        self._sock_send("%s%s:%s|g" % (self.prefix, name, value))

    def increment(self, name, value, sampling_rate=1.0):
        self._sock_send("%s%s:%s|c|@%s" % (self.prefix, name, value, sampling_rate))

    def decrement(self, name, value, sampling_rate=1.0):
        self._sock_send("%s%s:-%s|c|@%s" % (self.prefix, name, value, sampling_rate))

    def timer(self, name, value):
        self._sock_send("%s%s:%s|ms" % (self.prefix, name, value))

    def histogram(self, name, value):
        self._sock_send("%s%s:%s|h" % (self.prefix, name, value))

    def _sock_send(self, msg):
        message = msg.encode("ascii", "replace") if isinstance(msg, str) else msg
        if self.dogstatsd_tags:
            message += b"|#" + self.dogstatsd_tags.encode("ascii", "replace")
        if self.sock:
            try:
                self.sock.send(message)
            except OSError:
                Logger.warning(self, "Error sending message to statsd", exc_info=True)
