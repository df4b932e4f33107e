"""What Django does with requests and responses, a path each, settings and all in this file. FILE in the environment is
the file to send.
"""

import io
import json
import os
import zlib
from datetime import datetime, timezone

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["test", ".example.org"],
    DEBUG=False,
    FILE_UPLOAD_MAX_MEMORY_SIZE=100_000,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="no secret",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    USE_TZ=True,
)

from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import condition, require_http_methods

from checked import checked

FILE = os.environ["FILE"]
closed = 0


def summed(pieces):
    length, sum = 0, 1
    for piece in pieces:
        length, sum = length + len(piece), zlib.adler32(piece, sum)
    return {"length": length, "sum": sum}


def form(request):
    return JsonResponse({"form": dict(request.POST.lists()), "args": dict(request.GET.lists())})


def upload(request):
    files = [
        {"field": field, "name": file.name, "type": file.content_type, **summed(file.chunks(5000))}
        for field, given in request.FILES.lists()
        for file in given
    ]
    return JsonResponse({"form": dict(request.POST.lists()), "files": files})


def body(request, way):
    ways = {
        "data": lambda: [request.body],
        "pieces": lambda: iter(lambda: request.read(5000), b""),
        "lines": lambda: request,
        "json": lambda: [json.loads(request.body)["text"].encode()],
        "unread": lambda: [],
    }
    announced = request.META.get("CONTENT_LENGTH")
    told = {"method": request.method, "announced": announced and int(announced), **summed(ways[way]())}
    return JsonResponse(told)


def stream(request):
    pieces = ("{} {}\n".format(n, "\u20ac") for n in range(int(request.GET["count"])))
    return StreamingHttpResponse(pieces, content_type="text/plain; charset=utf-8")


class Closing(StreamingHttpResponse):
    def close(self):
        global closed
        closed += 1
        super().close()


def endless(request):
    def pieces():
        global closed
        try:
            while True:
                yield bytes(65536)
        finally:
            closed += 1

    return Closing(pieces(), content_type="application/octet-stream")


def how_often_closed(request):
    return HttpResponse(str(closed))


def file(request):
    return FileResponse(open(FILE, "rb"), content_type="application/octet-stream")


def memory(request):
    with open(FILE, "rb") as source:
        content = io.BytesIO(source.read())
    return FileResponse(content, as_attachment=True, filename="caf\u00e9 \u20ac.bin")


@condition(lambda request: '"one"', lambda request: datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
def tagged(request):
    return HttpResponse("tagged", content_type="text/plain")


def cookies(request):
    response = JsonResponse(request.COOKIES)
    response.set_cookie("plain", "1", path="/", httponly=True, samesite="Lax")
    response.set_cookie("wide", "caf\u00e9; \u00fc", max_age=60)
    response.delete_cookie("gone")
    return response


def redirecting(request):
    return HttpResponseRedirect(request.GET.get("to") or "/path/\u00fc/\u20ac b?q=\u00e9%26")


def paths(request, rest=None):
    return JsonResponse(
        {
            "path": request.path,
            "rest": rest,
            "args": dict(request.GET.lists()),
            "query": request.META["QUERY_STRING"],
            "url": request.build_absolute_uri(),
            "root": request.META["SCRIPT_NAME"],
            "remote": request.META["REMOTE_ADDR"],
            "own": request.build_absolute_uri("x"),
        }
    )


def counting(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(str(request.session["count"]))


@require_http_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def method(request):
    return HttpResponse(request.method)


def nothing(request):
    response = HttpResponse(status=204)
    del response["Content-Type"]
    return response


def aborting(request, status):
    if status == 403:
        raise PermissionDenied
    return HttpResponse("status {}".format(status), status=status)


def boom(request):
    raise RuntimeError("boom in Django")


urlpatterns = [
    path("form", form),
    path("upload", upload),
    path("body/<way>", body),
    path("stream", stream),
    path("endless", endless),
    path("closed", how_often_closed),
    path("file", file),
    path("memory", memory),
    path("tagged", tagged),
    path("cookies", cookies),
    path("redirect", redirecting),
    path("path/", paths),
    path("path/<path:rest>", paths),
    path("session", counting),
    path("method", method),
    path("nothing", nothing),
    path("abort/<int:status>", aborting),
    path("boom", boom),
]
application = checked(get_wsgi_application())
