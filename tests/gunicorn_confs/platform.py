# A platform that says by PORT where to listen.
# env: PORT=0 WEB_CONCURRENCY=2 FORWARDED_ALLOW_IPS=*
# bind: 0.0.0.0
# log: access.log
wsgi_app = "plain"
accesslog = "access.log"
access_log_format = '%(h)s %({x-request-id}i)s "%(r)s" %(s)s %(L)s'
