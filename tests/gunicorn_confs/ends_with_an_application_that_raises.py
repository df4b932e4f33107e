# ends: yes
wsgi_app = "raising"
