"""What an account remembers between starts: the threads that we are in, and until when it has everything."""

from gatewayd.ports.store import State


class Threads:
    """The threads of an account in which we were addressed."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def load(self) -> None:
        """Read what is stored. Call once, before anything else. :raises StoreRefused:"""
