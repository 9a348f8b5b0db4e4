"""One server, whichever of the two it is: requests, event stream, polling, and the process that gatewayd starts.

Code for only one of the two belongs into its dialect (``opencode_server``, ``openagentic_server``), a turn's code one folder up.
"""
