"""Where each address of the site leads."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="polls:index")),
    path("polls/", include("polls.urls")),
    path("admin/", admin.site.urls),
    # The style sheets of the admin pages. A real site collects them (`manage.py collectstatic`) and lets nginx send them.
    path("static/<path:path>", serve, {"insecure": True}),
]
