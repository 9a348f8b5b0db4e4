"""To Telegram: payloads become calls, and a call that is refused is tried in a plainer form.

What receives does not belong here.
"""
