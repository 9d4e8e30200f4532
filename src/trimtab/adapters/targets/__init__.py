"""Places that plans are applied to. Each write is atomic; writing back what `read` gave undoes a change."""
