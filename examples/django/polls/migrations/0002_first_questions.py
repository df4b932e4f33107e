"""A few questions, so that a new site has something to show. Their dates are fixed: the pages are the same everywhere."""

from datetime import datetime, timezone

from django.db import migrations

QUESTIONS = [
    (datetime(2025, 4, 2, 9, 0), "Tabs or spaces?", ["Tabs", "Spaces", "Whatever the formatter says"]),
    (datetime(2025, 5, 11, 18, 30), "When is the best time to deploy?", ["Monday morning", "Friday at five", "Always"]),
    (datetime(2025, 6, 21, 12, 0), "Is <b>bold</b> & “quoted” text escaped?", ["Yes", "No", "Só às vezes"]),
    (datetime(2025, 9, 1, 7, 45), "Coffee, tea or neither?", ["Coffee", "Tea", "Neither"]),
]


def ask(apps, schema_editor):
    Question = apps.get_model("polls", "Question")
    Choice = apps.get_model("polls", "Choice")
    for published_at, text, choices in QUESTIONS:
        question = Question.objects.create(text=text, published_at=published_at.replace(tzinfo=timezone.utc))
        Choice.objects.bulk_create(Choice(question=question, text=choice) for choice in choices)


def take_back(apps, schema_editor):
    texts = [text for _, text, _ in QUESTIONS]
    apps.get_model("polls", "Question").objects.filter(text__in=texts).delete()


class Migration(migrations.Migration):
    dependencies = [("polls", "0001_initial")]
    operations = [migrations.RunPython(ask, take_back)]
