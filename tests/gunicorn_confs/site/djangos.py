"""The same by way of Django."""

import json

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="no secret",
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path
from django.views.decorators.csrf import csrf_exempt

from plain import plain


@csrf_exempt
def show(request):
    told = {name: plain(value) for name, value in request.META.items()}
    told["(url)"] = request.build_absolute_uri()
    told["(secure)"] = repr(request.is_secure())
    told["(body)"] = str(len(request.body))
    return HttpResponse(json.dumps(told).ljust(10000), content_type="application/json")


urlpatterns = [re_path("^", show)]
application = get_wsgi_application()
