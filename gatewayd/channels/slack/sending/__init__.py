"""To Slack: payloads become calls of the Web API, and a call that is refused is made in a plainer form.

What receives does not belong here.
"""
