"""A scripted model: real HTTP on Trio with the bytes of OpenAI's chat/completions and responses.

The last text of the user decides its answer (see ``script``). In process: ``async with ModelServer.serve() as model``. As a
process of its own: ``python -m tests.fakes.model_server``, whose first line is its URL, driven by :class:`RemoteModelServer`.
"""

from tests.fakes.model_server.remote import RemoteModelServer
from tests.fakes.model_server.server import MODEL, ModelServer, Seen

__all__ = ["MODEL", "ModelServer", "RemoteModelServer", "Seen"]
