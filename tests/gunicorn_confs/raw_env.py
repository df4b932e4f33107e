# Variables for the application.
import os

wsgi_app = "plain"
raw_env = ["GREETING=hello, world=1", "EMPTY="]
os.environ["DJANGO_SETTINGS_MODULE"] = "from.the.file"
