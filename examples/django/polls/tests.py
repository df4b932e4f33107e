"""python manage.py test"""

from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone

from .models import Question


def ask(text, days=0, choices=("Yes", "No")):
    question = Question.objects.create(text=text, published_at=timezone.now() + timedelta(days=days))
    for choice in choices:
        question.choices.create(text=choice)
    return question


class IndexTests(TestCase):
    def test_a_new_site_shows_its_first_questions(self):
        answer = self.client.get("/polls/")
        self.assertContains(answer, "Tabs or spaces?")
        self.assertContains(answer, "Is &lt;b&gt;bold&lt;/b&gt; &amp; “quoted” text escaped?")

    def test_the_root_leads_to_the_polls(self):
        self.assertRedirects(self.client.get("/"), "/polls/")

    def test_an_empty_site_says_so(self):
        Question.objects.all().delete()
        self.assertContains(self.client.get("/polls/"), "nothing to vote on yet")

    def test_newest_first_and_five_at_most(self):
        for age in range(6):
            ask(f"Asked {age} days ago?", days=-age)
        shown = [question.text for question in self.client.get("/polls/").context["questions"]]
        self.assertEqual(shown, [f"Asked {age} days ago?" for age in range(5)])

    def test_future_questions_and_questions_without_answers_are_hidden(self):
        future, bare = ask("Tomorrow?", days=1), ask("Bare?", choices=())
        answer = self.client.get("/polls/")
        for question in (future, bare):
            self.assertNotContains(answer, question.text)
            self.assertEqual(self.client.get(reverse("polls:detail", args=[question.id])).status_code, 404)


class VoteTests(TestCase):
    def setUp(self):
        self.question = ask("Does it count?")
        self.yes, self.no = self.question.choices.all()
        self.url = reverse("polls:vote", args=[self.question.id])

    def test_a_vote_counts_once(self):
        answer = self.client.post(self.url, {"choice": self.yes.id})
        self.assertRedirects(answer, reverse("polls:results", args=[self.question.id]))
        self.assertEqual([choice.votes for choice in self.question.choices.all()], [1, 0])
        self.assertContains(self.client.get(answer.url), "1 vote<")

    def test_a_wrong_choice_is_told_and_counts_nothing(self):
        other = ask("Another?").choices.first()
        for form in ({}, {"choice": "x"}, {"choice": other.id}):
            self.assertContains(self.client.post(self.url, form), "Please choose")
        self.assertEqual(self.question.vote_count(), 0)

    def test_a_vote_is_a_post(self):
        self.assertEqual(self.client.get(self.url).status_code, 405)

    def test_a_vote_without_the_token_is_refused(self):
        strict = Client(enforce_csrf_checks=True)
        self.assertEqual(strict.post(self.url, {"choice": self.yes.id}).status_code, 403)
        strict.get(reverse("polls:detail", args=[self.question.id]))
        form = {"choice": self.yes.id, "csrfmiddlewaretoken": strict.cookies["csrftoken"].value}
        self.assertEqual(strict.post(self.url, form).status_code, 302)


class AdminTests(TestCase):
    def test_the_admin_lists_questions_with_their_votes(self):
        self.client.force_login(User.objects.create_superuser("ada"))
        ask("Listed?").choices.update(votes=7)
        answer = self.client.get(reverse("admin:polls_question_changelist"))
        self.assertContains(answer, "Listed?")
        self.assertContains(answer, '<td class="field-vote_count">14</td>')

    def test_the_admin_has_its_style_sheet(self):
        answer = self.client.get("/static/admin/css/base.css")
        self.assertEqual(answer["Content-Type"], "text/css")
        self.assertIn(b"body", answer.getvalue())
