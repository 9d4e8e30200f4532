"""Language models behind `core.ports.LanguageModel`: capped, cached, told to the ledger. Callers write the prompts."""
