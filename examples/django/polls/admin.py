from django.contrib import admin

from .models import Choice, Question


class ChoiceRow(admin.TabularInline):
    model = Choice
    extra = 2


@admin.register(Question)
class QuestionAdmin(admin.ModelAdmin):
    inlines = [ChoiceRow]
    list_display = ["text", "published_at", "vote_count"]
    list_filter = ["published_at"]
    search_fields = ["text"]
