"""Fakes of OpenCode's and OpenAgentic's HTTP servers: the bytes, the states and the bugs of the real ones over real sockets.

The model is a script of the test, a function that gets a ``ModelRun``. See ``opencode`` and ``openagentic``.
"""

from tests.fakes.opencode_server.http import Fault
from tests.fakes.opencode_server.openagentic import FakeOpenAgentic
from tests.fakes.opencode_server.opencode import FakeOpenCode
from tests.fakes.opencode_server.script import Answers, Asking, ModelRun, Script

__all__ = ["Answers", "Asking", "FakeOpenAgentic", "FakeOpenCode", "Fault", "ModelRun", "Script"]
