"""Right-sizing: requests for CPU and memory from what pods really used, at a stated risk."""
