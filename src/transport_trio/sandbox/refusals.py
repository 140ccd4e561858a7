"""What the sandbox answers when it says no: Daily's error types, bodies and (where known) words."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer other than 200. `body` is the JSON that goes out."""

    def __init__(
        self, status: int, error: str, info: str | None = None, *, retry_after_s: float | None = None, **extra: Any
    ) -> None:
        super().__init__(f"{status} {error}: {info}")
        self.status = status
        self.body: dict[str, Any] = {"error": error, **({"info": info} if info is not None else {}), **extra}
        self.retry_after_s = retry_after_s


def invalid(info: str) -> ApiError:
    return ApiError(400, "invalid-request-error", info)


def not_json() -> ApiError:
    return ApiError(400, "json-parsing-error", "the request body is not valid JSON")


def too_large(limit_bytes: int) -> ApiError:
    return ApiError(413, "invalid-request-error", f"the request body is larger than {limit_bytes} bytes")


def too_slow(limit_s: float) -> ApiError:
    return ApiError(408, "invalid-request-error", f"the request body has not come to its end within {limit_s:g} s")


def bad_authorization_header() -> ApiError:
    return ApiError(400, "authorization-header-error", "invalid authorization header")


def wrong_key() -> ApiError:
    return ApiError(401, "authentication-error")


def unknown_endpoint() -> ApiError:
    return ApiError(404, "not-found", "api endpoint does not exist")


def room_not_found(name: str, **extra: Any) -> ApiError:
    return ApiError(404, "not-found", f"room {name} not found", **extra)


def throttled(info: str, retry_after_s: float | None) -> ApiError:
    return ApiError(429, "rate-limit-error", info, retry_after_s=retry_after_s)


def not_in_plan() -> ApiError:
    return ApiError(400, "invalid-plan-type", "This feature is only available to paid accounts")


def not_simulated(method: str, path: str) -> ApiError:
    return ApiError(501, "not-simulated", f"{method} {path} exists at Daily; the sandbox does not simulate it")


def js_text(value: Any) -> str:
    """A JSON value as JavaScript puts it into a sentence, which is how Daily quotes what it refuses."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        case list():
            return ",".join("" if item is None else js_text(item) for item in value)
        case dict():
            return "[object Object]"
        case _:
            return str(value)
