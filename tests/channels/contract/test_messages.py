"""What the contract says to an author whose package is not what it should be."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from gatewayd.ports.channel import ChannelPlugin
from gatewayd.testing import channel_contract


def contract_of(plugin_id: str, excuse: str) -> channel_contract.ChannelContract:
    class Contract(channel_contract.ChannelContract):
        plugin = ChannelPlugin(id=plugin_id, label="Somebody's", settings="-", open="-")
        excuses: ClassVar[Mapping[str, str]] = {excuse: "there is nothing of the kind"}

    return Contract()


def test_a_package_that_is_not_installed_is_told_what_to_do() -> None:
    with pytest.raises(AssertionError, match=r"no installed package has the entry point 'nobodys'.*pip install -e \."):
        contract_of("nobodys", "half").test_the_manifest_is_registered_and_names_what_exists()


def test_a_misspelt_excuse_is_told_what_there_is() -> None:
    with pytest.raises(AssertionError, match=r"none of these: outage, .*half.*group.*pings") as found:
        contract_of("nobodys", "halve").test_each_excuse_is_of_something_and_has_a_reason()
    assert "halve" in str(found.value)
