# ends: yes
wsgi_app = "nowhere"
