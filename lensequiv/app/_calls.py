"""The page's files and calls as routes of Starlette (extra `app`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lensequiv.app._uploads import FORMATS
from lensequiv.app._viewer import Viewer

__all__ = ["routes"]

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    # Nothing from anywhere else is loaded, nothing is sent anywhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src "
    "'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action "
    "'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_CALL = "x-lensequiv"
"""Pages of other sites cannot send this header, so they can make no call."""
_GONE = "the image is no longer here: drop it again"


def routes(viewer: Viewer, max_bytes: int) -> list[Route]:
    """The page's files, read once here, and its calls.

    Args:
        viewer: Answers the calls.
        max_bytes: Largest file that is taken.
    """
    calls = _Calls(viewer, max_bytes)
    return [
        *(Route(path, _file(*what)) for path, what in _PAGE.items()),
        Route("/api/info", calls.info),
        Route("/api/image", calls.opened, methods=["POST"]),
        Route("/api/image/{token}/turn", calls.turned, methods=["POST"]),
        Route("/api/image/{token}/saliency", calls.explained, methods=["POST"]),
        Route("/api/image/{token}/numbers.{form}", calls.numbers),
    ]


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    """Answers with a file of the page."""
    content = (Path(__file__).parent / "page" / name).read_bytes()

    async def send(request: Request) -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return send


def _failed(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status, headers=_HEADERS)


async def _answer(request: Request, work: Callable[..., Any], *args: Any) -> Response:
    """Answers a call of the page, in a thread; errors are told as text."""
    if _CALL not in request.headers:
        return _failed(403, "only this server's own page may ask")
    try:
        found = await run_in_threadpool(work, *args)
    except KeyError:
        return _failed(410, _GONE)
    except (OSError, ValueError, ImportError) as error:
        return _failed(422, str(error))
    except MemoryError:
        return _failed(422, "there is too little memory for this image")
    return JSONResponse(found, headers=_HEADERS)


class _Calls:
    """What answers the page's calls."""

    def __init__(self, viewer: Viewer, max_bytes: int) -> None:
        self.viewer, self.max_bytes = viewer, max_bytes

    async def info(self, request: Request) -> Response:
        """Which weights and formats there are."""
        told = {
            "weights": self.viewer.weights,
            "formats": FORMATS,
            "max_bytes": self.max_bytes,
        }
        return await _answer(request, lambda: told)

    async def opened(self, request: Request) -> Response:
        """Classifies the image that the call brings."""
        limit = f"the file is larger than {self.max_bytes / 2**20:g} MiB"
        if int(request.headers.get("content-length", 0)) > self.max_bytes:
            return _failed(413, limit)
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > self.max_bytes:
                return _failed(413, limit)
        asked = request.query_params

        def work() -> dict[str, Any]:
            return self.viewer.open(
                asked.get("name", ""),
                bytes(content),
                weights=asked.get("weights") or None,
                hdu=asked.get("hdu") or None,
                pixel_scale=_scale(asked.get("pixel_scale", "")),
                resampled=asked.get("resample") == "yes",
            )

        return await _answer(request, work)

    async def turned(self, request: Request) -> Response:
        """Classifies an image that is here, turned."""

        def work() -> dict[str, Any]:
            degrees = float(request.query_params.get("degrees", "nan"))
            return self.viewer.turn(request.path_params["token"], degrees)

        return await _answer(request, work)

    async def explained(self, request: Request) -> Response:
        """Says which pixels of an image that is here made the answer."""
        token = request.path_params["token"]
        return await _answer(request, self.viewer.saliency, token)

    async def numbers(self, request: Request) -> Response:
        """Sends an answer as a file of numbers."""
        token, form = request.path_params["token"], request.path_params["form"]
        try:
            name, content = self.viewer.numbers(token, form)
        except KeyError:
            return _failed(410, _GONE)
        safe = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name)
        safe = safe.encode("ascii", "replace").decode().replace("?", "_")
        attached = {"Content-Disposition": f'attachment; filename="{safe}"'}
        kind = {"csv": "text/csv", "json": "application/json"}[form]
        return Response(content, media_type=kind, headers={**_HEADERS, **attached})


def _scale(text: str) -> float | None:
    """A pixel scale as it was typed; None if nothing was.

    Raises:
        ValueError: It is no positive number.
    """
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1000:
        raise ValueError(f"pixel scale {text!r:.40}: expected arcsec, such as 0.05")
    return value
