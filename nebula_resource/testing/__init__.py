"""Testing tools: what a user of the library needs to test a service that uses it."""
