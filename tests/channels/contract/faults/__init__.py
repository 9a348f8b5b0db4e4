"""Faults of a driver, as small as they come, each with the test of the contract that has to find it.

The numbers are those of docs/reference/driver-faults.md, which a test holds against these modules. Without a number are faults
that came to mind later. The docstring of each driver says what is wrong with it.
"""

from tests.channels.contract.faults import receiving, sending
from tests.channels.contract.faults.life import SLOW, HangsInClose, TellsOfInterruptions
from tests.channels.contract.faults.planting import FAULTS, Fault

__all__ = ["FAULTS", "SLOW", "Fault", "HangsInClose", "TellsOfInterruptions", "receiving", "sending"]
