"""The child process of an embedded model: serves one GGUF on loopback until its parent is gone. Run as a module.

Reads {"model", "key", "context"} as one JSON line, writes {"url"} as one, then waits for its input to end.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Load the model, serve it, and end with the parent."""
    asked = json.loads(sys.stdin.readline())
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = asked["model"]
    parameters.n_ctx = asked["context"]
    parameters.n_parallel = 1
    # One thread is faster than two on a busy host, and answers then do not depend on the number of cores.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = 1
    parameters.hostnames, parameters.port, parameters.api_keys = ["127.0.0.1"], 0, [asked["key"]]
    parameters.ui, parameters.warmup, parameters.verbosity = False, False, 0
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()
    os._exit(0)  # destructors of the runtime would only take time


if __name__ == "__main__":
    main()
