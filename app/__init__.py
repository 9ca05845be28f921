"""Application: the runnable service and its demo tenants."""
