# ends: yes
# words: --workers many
wsgi_app = "plain"
