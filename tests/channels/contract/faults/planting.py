"""How a fault is planted."""

from collections.abc import Callable

from msgspec import Struct

from tests.channels.contract.variants import Loopback, LoopbackContract


class Fault(Struct, frozen=True):
    """``number`` is that of the page. ``contract`` runs the driver on its network."""

    number: int | None
    driver: type[Loopback]
    contract: type[LoopbackContract]
    test: str

    @property
    def words(self) -> str:
        """What is wrong, in one line."""
        return (self.driver.__doc__ or "").strip()


FAULTS: list[Fault] = []


def fault(
    number: int | None, test: str, contract: type[LoopbackContract] = LoopbackContract
) -> Callable[[type[Loopback]], type[Loopback]]:
    def note(driver: type[Loopback]) -> type[Loopback]:
        FAULTS.append(Fault(number, driver, contract, test))
        return driver

    return note
