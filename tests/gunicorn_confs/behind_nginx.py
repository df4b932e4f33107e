# A unix socket, and a real nginx before it.
# bind: unix:site.sock
# front: nginx
wsgi_app = "flasks:app"
bind = "unix:site.sock"
umask = 0o007
workers = 2
forwarded_allow_ips = "*"
access_log_format = '%({x-forwarded-for}i)s "%(r)s" %(s)s %(b)s'
