# ends: yes
wsgi_app = "raising"
preload_app = True
