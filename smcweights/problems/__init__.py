"""Test problems."""
