"""Who may ask: tokens, bearer credentials, allowed hosts and origins, and what a program is not shown.

No route belongs here.
"""
