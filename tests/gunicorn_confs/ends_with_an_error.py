# ends: yes
raise RuntimeError("raised on purpose")
