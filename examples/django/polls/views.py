"""The four pages of a poll: the list, the form, the vote, the result."""

from django.db.models import F
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from .models import Choice, Question

SHOWN_AT_MOST = 5


def index(request):
    questions = Question.objects.published()[:SHOWN_AT_MOST]
    return render(request, "polls/index.html", {"questions": questions})


def detail(request, question_id):
    question = get_object_or_404(Question.objects.published(), pk=question_id)
    return render(request, "polls/detail.html", {"question": question})


def results(request, question_id):
    question = get_object_or_404(Question.objects.published(), pk=question_id)
    return render(request, "polls/results.html", {"question": question})


@require_POST
def vote(request, question_id):
    question = get_object_or_404(Question.objects.published(), pk=question_id)
    try:
        choice = question.choices.get(pk=request.POST["choice"])
    except (KeyError, ValueError, Choice.DoesNotExist):
        context = {"question": question, "problem": "Please choose one of the answers."}
        return render(request, "polls/detail.html", context)
    # Added up by the database: two votes at the same time both count.
    question.choices.filter(pk=choice.pk).update(votes=F("votes") + 1)
    return HttpResponseRedirect(reverse("polls:results", args=[question.pk]))
