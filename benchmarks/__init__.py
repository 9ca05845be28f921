"""Benchmarks: what each promise costs, beside the cheapest conceivable thing that does the job."""
