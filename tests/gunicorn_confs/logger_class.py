# log: access.log
# No lines for health checks, by a class of one's own.
import logging

from gunicorn import glogging

wsgi_app = "plain"
worker_class = "gthread"
threads = 2
accesslog = "access.log"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s "%({x-request-id}i)s" %({server_name}e)s %(L)s'


class NoHealthChecks(logging.Filter):
    def filter(self, record):
        return "/missing" not in record.args["r"]


class Logger(glogging.Logger):
    def setup(self, cfg):
        super().setup(cfg)
        logging.getLogger("gunicorn.access").addFilter(NoHealthChecks())


logger_class = Logger
