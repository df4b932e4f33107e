# ends: yes
# words: -c nowhere.py
wsgi_app = "plain"
