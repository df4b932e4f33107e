"""The echo under the checks of the standard library: an environ or a call that PEP 3333 forbids is an AssertionError."""

from wsgiref.validate import validator

import echo

application = validator(echo.application)
