# ends: yes
wsgi_app = "plain"
workers = "many"
