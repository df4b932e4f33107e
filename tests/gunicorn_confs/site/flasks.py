"""The same by way of Flask, behind ProxyFix."""

import json

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from plain import plain

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app)


@app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
@app.route("/<path:path>", methods=["GET", "POST"])
def show(path):
    told = {name: plain(value) for name, value in request.environ.items() if not name.startswith(("werkzeug.", "flask."))}
    told["(url)"] = request.url
    told["(body)"] = str(len(request.get_data()))
    return json.dumps(told).ljust(10000), 200, {"Content-Type": "application/json"}
