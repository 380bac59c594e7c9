"""Why a request was refused: gRPC's status codes and what REST makes of them, as in TensorFlow Serving."""

from __future__ import annotations

from grpc import StatusCode

# TensorFlow Serving's http_server.cc; a body that is too long has a code of its own in HTTP.
HTTP_STATUS = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.UNAUTHENTICATED: 401,
}

_BY_NUMBER = {code.value[0]: code for code in StatusCode}
_LONGEST = 500  # characters of a message


class Refused(Exception):
    """A request that gets a status code instead of an answer."""

    def __init__(self, code: StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."

    @property
    def http_status(self) -> int:
        """The status of the REST answer; 500 for what has none of its own."""
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> Refused:
    """INVALID_ARGUMENT: the same request will never be served."""
    return Refused(StatusCode.INVALID_ARGUMENT, message)


def refusal(error: BaseException) -> Refused:
    """Any error as a status: TensorFlow's keep their code, what nobody foresaw is INTERNAL."""
    if isinstance(error, Refused):
        return error
    number = getattr(error, "error_code", None)
    if number in _BY_NUMBER:
        # The first line says it; the rest is the stack of the graph's construction.
        return Refused(_BY_NUMBER[number], (getattr(error, "message", "") or str(error)).splitlines()[0])
    return Refused(StatusCode.INTERNAL, f"{type(error).__name__} while the request was served")
