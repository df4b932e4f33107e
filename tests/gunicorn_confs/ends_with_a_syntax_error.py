# ends: yes
workers = = 2
