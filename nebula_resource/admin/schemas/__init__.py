"""Schemas: what goes in and comes out, one noun a file, each with what builds it."""
