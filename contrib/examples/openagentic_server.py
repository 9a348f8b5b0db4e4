#!/usr/bin/env python3
"""The OpenAgentic SDK's HTTP server with streamed texts, to be run by gatewayd or by hand.

    python openagentic_server.py --port 4096          # in the project's directory; RIGHTCODE_API_KEY and so on as for `oa serve`

`oa serve` streams texts only when its standard input is a terminal, which it is not under a daemon.
"""

import argparse
import os
from dataclasses import replace

from openagentic_cli.config import build_options  # type: ignore[import-untyped]
from openagentic_sdk.server.http_server import serve_http  # type: ignore[import-untyped]


def main() -> None:
    parser = argparse.ArgumentParser(description="The OpenAgentic SDK's HTTP server, with streamed texts.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4096)
    arguments = parser.parse_args()
    here = os.getcwd()
    options = build_options(cwd=here, project_dir=here, permission_mode="default")
    serve_http(options=replace(options, include_partial_messages=True), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
