"""The server: a page, and the calls that it makes."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lensequiv.app._uploads import FORMATS
from lensequiv.app._viewer import Viewer

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["MAX_MB", "create_app", "serve"]

MAX_MB = 64
"""Largest file that is taken, unless another limit is given. *Unit*: MiB."""

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


def create_app(
    viewer: Viewer, *, max_bytes: int = MAX_MB * 2**20, hosts: Sequence[str] = ()
) -> Starlette:
    """The page and its calls as an ASGI application.

    No route leads to a file: the page's three files are read once, here.

    Args:
        viewer: Answers the calls.
        max_bytes: Largest file that is taken.
        hosts: Names under which the server may be addressed, so that no other site can
            pose as it; `["*"]`: any.

    Raises:
        ImportError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise ImportError("the app needs: pip install 'lensequiv[app]'") from error

    def failed(status: int, message: str) -> Response:
        return JSONResponse({"error": message}, status, headers=_HEADERS)

    def page(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        content = (Path(__file__).parent / "page" / name).read_bytes()

        async def send(request: Request) -> Response:
            return Response(content, media_type=kind, headers=_HEADERS)

        return send

    async def called(
        request: Request, work: Callable[..., Any], *args: Any
    ) -> Response:
        """Answers a call of the page, in a thread; errors are told as text."""
        if _CALL not in request.headers:
            return failed(403, "only this server's own page may ask")
        try:
            found = await run_in_threadpool(work, *args)
        except KeyError:
            return failed(410, "the image is no longer here: drop it again")
        except (OSError, ValueError, ImportError) as error:
            return failed(422, str(error))
        except MemoryError:
            return failed(422, "there is too little memory for this image")
        return JSONResponse(found, headers=_HEADERS)

    async def info(request: Request) -> Response:
        told = {"weights": viewer.weights, "formats": FORMATS, "max_bytes": max_bytes}
        return await called(request, lambda: told)

    async def opened(request: Request) -> Response:
        limit = f"the file is larger than {max_bytes / 2**20:g} MiB"
        if int(request.headers.get("content-length", 0)) > max_bytes:
            return failed(413, limit)
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > max_bytes:
                return failed(413, limit)
        asked = request.query_params

        def work() -> dict[str, Any]:
            return viewer.open(
                asked.get("name", ""),
                bytes(content),
                weights=asked.get("weights") or None,
                hdu=asked.get("hdu") or None,
                pixel_scale=_scale(asked.get("pixel_scale", "")),
                resampled=asked.get("resample") == "yes",
            )

        return await called(request, work)

    async def turned(request: Request) -> Response:
        def work() -> dict[str, Any]:
            degrees = float(request.query_params.get("degrees", "nan"))
            return viewer.turn(request.path_params["token"], degrees)

        return await called(request, work)

    async def explained(request: Request) -> Response:
        return await called(request, viewer.saliency, request.path_params["token"])

    async def numbers(request: Request) -> Response:
        token, form = request.path_params["token"], request.path_params["form"]
        try:
            name, content = viewer.numbers(token, form)
        except KeyError:
            return failed(410, "the image is no longer here: drop it again")
        safe = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name)
        safe = safe.encode("ascii", "replace").decode().replace("?", "_")
        attached = {"Content-Disposition": f'attachment; filename="{safe}"'}
        kind = {"csv": "text/csv", "json": "application/json"}[form]
        return Response(content, media_type=kind, headers={**_HEADERS, **attached})

    allowed = list(hosts) or ["127.0.0.1", "localhost", "[::1]", "testserver"]
    return Starlette(
        routes=[
            *(Route(path, page(*what)) for path, what in _PAGE.items()),
            Route("/api/info", info),
            Route("/api/image", opened, methods=["POST"]),
            Route("/api/image/{token}/turn", turned, methods=["POST"]),
            Route("/api/image/{token}/saliency", explained, methods=["POST"]),
            Route("/api/image/{token}/numbers.{form}", numbers),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed)],
    )


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


def serve(
    viewer: Viewer,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    max_bytes: int = MAX_MB * 2**20,
) -> None:
    """Serves the page until Ctrl-C.

    Args:
        viewer: Answers the calls.
        host: Address to listen at. Any but this machine's own opens the page to others,
            who need no password.
        port: To listen at; 0: a free one.
        max_bytes: Largest file that is taken.

    Raises:
        ImportError: The extra `app` is not installed.
        OSError: The port is taken.
    """
    local = host == "localhost" or _is_loopback(host)
    app = create_app(viewer, max_bytes=max_bytes, hosts=() if local else ["*"])
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("the app needs: pip install 'lensequiv[app]'") from error
    settings = uvicorn.Config(
        *(app, host, port),
        log_level="warning",
        access_log=False,
        limit_concurrency=64,
        server_header=False,
    )
    bound = _bound(host, port)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{bound.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
    if not local:
        print("warning: others can reach it; there is no password", file=sys.stderr)
    uvicorn.Server(settings).run(sockets=[bound])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int) -> Any:
    """A socket at an address, before anything is loaded.

    Raises:
        OSError: The address is taken, or none of this machine.
    """
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise OSError(
            f"cannot listen at {host}:{port} ({error.strerror}); choose another --port"
        ) from error
    return made
