# ends: yes
wsgi_app = "plain"
worker_class = "no.such.Worker"
