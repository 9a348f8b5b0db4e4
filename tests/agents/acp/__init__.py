"""The acp core against a scripted ACP agent: a process (rig), or an agent in memory (script, chat). Real agents are in real."""
