"""One server, whichever of the two it is: requests, event stream, polling, and the process that gatewayd starts.

Code for only one of the two belongs in its dialect (``opencode_server``, ``openagentic_server``). Code of a turn is one folder
up.
"""
