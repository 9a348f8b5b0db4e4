"""The routes that channels have of their own: who may call them, with which limits, and what they may use of the hub.

No page and no login of a channel belongs here: these are in its plug-in.
"""
