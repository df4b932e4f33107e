"""Puts an application under wsgiref.validate where the request asks for it with X-Validate."""

from wsgiref.validate import validator


class Sized:
    """The validator insists on read(size); frameworks leave the size out, which every server allows."""

    def __init__(self, stream):
        self.stream = stream
        self.readline = stream.readline
        self.readlines = stream.readlines

    def read(self, size=-1):
        return self.stream.read(size)

    def __iter__(self):
        return iter(self.stream)


def checked(application):
    @validator
    def validated(environ, start_response):
        environ["wsgi.input"] = Sized(environ["wsgi.input"])
        return application(environ, start_response)

    def switch(environ, start_response):
        chosen = validated if "HTTP_X_VALIDATE" in environ else application
        return chosen(environ, start_response)

    return switch
