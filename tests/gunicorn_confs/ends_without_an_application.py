# ends: yes
workers = 1
