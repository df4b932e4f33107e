"""What rwsgi offers to the applications that it runs. Under rwsgi the module is the server's own; this one stands in for it
where the application is imported without the server, by its tests say."""


class RequestTimeout(BaseException):
    """The request has taken longer than the setting timeout allows."""
