"""A notice board in Flask: pages, a form, JSON, a streamed answer. Notes live in memory, so each worker has its own."""

from flask import Flask, Response, jsonify, redirect, render_template_string, request, url_for

app = Flask(__name__)
notes = ["Welcome to the board."]

PAGE = """<!doctype html>
<html lang="en">
<title>Notice board</title>
<style>body { font: 1rem/1.5 sans-serif; max-width: 36rem; margin: 2rem auto; padding: 0 1rem }</style>
<h1>Notice board</h1>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
<form method="post"><input name="note" required maxlength="200" autofocus> <button>Pin it</button></form>
</html>
"""


@app.get("/")
def board():
    return render_template_string(PAGE, notes=notes)


@app.post("/")
def pin():
    notes.append(request.form["note"][:200])
    return redirect(url_for("board"), code=303)


@app.get("/hello")
def hello():
    return "Hello, World!"


@app.get("/notes.json")
def as_json():
    return jsonify(notes=notes)


@app.get("/notes.csv")
def as_csv():
    def lines():
        yield "number,note\n"
        for number, note in enumerate(notes, start=1):
            yield '{},"{}"\n'.format(number, note.replace('"', '""'))

    return Response(lines(), mimetype="text/csv")
