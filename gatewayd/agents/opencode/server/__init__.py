"""One server, whichever of the two it is: requests, event stream, polling, and the process that gatewayd starts.

What only one of them does belongs into its dialect (``opencode_server``, ``openagentic_server``), what a turn does into ``run``.
"""
