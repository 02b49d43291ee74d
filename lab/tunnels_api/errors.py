"""Errors as the API answers them."""

from __future__ import annotations

#: Status -> the `type` of the error object.
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """Becomes an answer with this status. `retry_after` (seconds) becomes a header."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Denied(ApiError):
    """A refused token exchange: the same answer for every reason.

    Attributes:
        reason: text as the vendor's Console would show it in its authentication history.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(401, "Authentication failed")
        self.reason = reason
