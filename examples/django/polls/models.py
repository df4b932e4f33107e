"""A question and the answers one may choose from."""

from django.contrib import admin
from django.db import models
from django.utils import timezone


class PublishedQuestions(models.QuerySet):
    def published(self):
        """Questions that are out already and can be answered."""
        return self.filter(published_at__lte=timezone.now(), choices__isnull=False).distinct()


class Question(models.Model):
    text = models.CharField(max_length=200)
    published_at = models.DateTimeField("published at")

    objects = PublishedQuestions.as_manager()

    class Meta:
        ordering = ["-published_at", "-id"]

    def __str__(self):
        return self.text

    @admin.display(description="Votes")
    def vote_count(self):
        return self.choices.aggregate(total=models.Sum("votes", default=0))["total"]


class Choice(models.Model):
    question = models.ForeignKey(Question, on_delete=models.CASCADE, related_name="choices")
    text = models.CharField(max_length=200)
    votes = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["id"]

    def __str__(self):
        return self.text
