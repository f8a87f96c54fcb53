"""Django REST framework on SQLite: a model, a serializer, a list view and page pagination, in one file.

Run by `gunicorn bench.plain_stacks.django_rest:application`; PLAIN_SQLITE is the database's file, which
`python -m bench.plain_stacks.django_rest FILE.jsonl` fills from lines of JSON.
"""

import json
import os
import sys
from pathlib import Path

import django
from django.conf import settings

settings.configure(
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="a benchmark keeps no sessions",  # noqa: S106  # nothing is signed here
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["PLAIN_SQLITE"]}},
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    USE_TZ=True,
)
django.setup()

# Django's models can only be declared once it is set up.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import generics, pagination, serializers  # noqa: E402


class Video(models.Model):
    """A video as its columns."""

    id = models.CharField(max_length=11, primary_key=True)
    title = models.CharField(max_length=200)
    description = models.TextField()
    channel = models.JSONField()
    published_at = models.CharField(max_length=20, db_index=True)
    live = models.CharField(max_length=10)
    duration_seconds = models.IntegerField(null=True)
    thumbnails = models.JSONField()
    queries = models.JSONField()
    first_seen_at = models.CharField(max_length=24)
    url = models.CharField(max_length=60)

    class Meta:
        app_label = "plain"


class VideoSerializer(serializers.ModelSerializer):
    """Every column."""

    class Meta:
        model = Video
        fields = "__all__"


class Pages(pagination.PageNumberPagination):
    """`?page=…&limit=…`"""

    page_size = 10
    page_size_query_param = "limit"
    max_page_size = 100


class VideoList(generics.ListAPIView):
    """Newest first."""

    queryset = Video.objects.order_by("-published_at", "-id")
    serializer_class = VideoSerializer
    pagination_class = Pages


urlpatterns = [path("v1/videos", VideoList.as_view())]
application = get_wsgi_application()


def fill(lines: Path) -> None:
    """Make the table and store one video a line."""
    with connection.schema_editor() as editor:
        editor.create_model(Video)
    with lines.open() as file:
        Video.objects.bulk_create((Video(**json.loads(line)) for line in file), batch_size=500)


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
