"""`lensequiv app`: drop an image into a browser page and see what weights say of it.

Everything happens on the machine that runs it: the page takes no script, font or
picture from anywhere else, and nothing is sent anywhere. Extra `app`: Starlette and
uvicorn, seven small packages in all; the page itself is plain HTML and JavaScript.
"""

from lensequiv.app._server import create_app, serve
from lensequiv.app._viewer import Viewer

__all__ = ["Viewer", "create_app", "serve"]
