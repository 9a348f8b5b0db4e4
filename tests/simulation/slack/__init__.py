"""The fake Slack of the tests on streams in memory, for the real driver, with the faults and people of the simulation."""
