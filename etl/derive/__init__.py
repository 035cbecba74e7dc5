"""Derived tables: pure functions from the store's tables or volumes to rows."""
