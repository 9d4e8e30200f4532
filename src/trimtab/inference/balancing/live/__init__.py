"""The router that runs: an HTTP reverse proxy that sends each request where a compiled policy says."""

from trimtab.inference.balancing.live.router import Router, Settings

__all__ = ["Router", "Settings"]
