"""Each module composes one capability from configuration and evidence; `order` lists those of a pipeline."""
