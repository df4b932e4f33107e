# Elsewhere than where it was started, with modules from elsewhere.
import os

wsgi_app = "plain"
base = os.path.dirname(os.path.abspath(__file__))
os.makedirs(base + "/elsewhere", exist_ok=True)
chdir = base + "/elsewhere"
pythonpath = base + "," + base + "/elsewhere"
