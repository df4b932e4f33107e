"""What Django's own test client gets, as JSON: python django_pages.py PATH ... in the directory of manage.py.

Each path is asked for by a client of its own, without cookies. Bodies are given as text of code points up to 255.
"""

import json
import os
import sys

sys.path.insert(0, os.getcwd())
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

import django
from django.test import Client

django.setup()


def page(path):
    answer = Client().get(path)
    body = answer.getvalue() if answer.streaming else answer.content
    cookies = [("Set-Cookie", cookie.OutputString()) for cookie in answer.cookies.values()]
    return {
        "status": f"{answer.status_code} {answer.reason_phrase}",
        "fields": [*answer.items(), *cookies],
        "body": body.decode("latin-1"),
    }


json.dump([page(path) for path in sys.argv[1:]], sys.stdout)
print()
