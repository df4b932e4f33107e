# ends: yes
# bind: nowhere
wsgi_app = "plain"
bind = "unix:nowhere/at/all.sock"
