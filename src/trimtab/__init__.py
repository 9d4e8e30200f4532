"""trimtab: makes machine-learning pipelines cost less, and proves every saving."""

__version__ = "0.1.0"
