"""Model: values, contracts and ports, without a loop and without a framework."""
