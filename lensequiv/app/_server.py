"""The server of the page."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lensequiv.app._viewer import Viewer

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["MAX_MB", "create_app", "serve"]

MAX_MB = 64
"""Largest file that is taken, unless another limit is given. *Unit*: MiB."""


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
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
    except ImportError as error:
        raise ImportError("the app needs: pip install 'lensequiv[app]'") from error
    from lensequiv.app._calls import routes

    allowed = list(hosts) or ["127.0.0.1", "localhost", "[::1]", "testserver"]
    return Starlette(
        routes=routes(viewer, max_bytes),
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=allowed)],
    )


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
