# ends: yes
# words: --check-config
wsgi_app = "raising"
