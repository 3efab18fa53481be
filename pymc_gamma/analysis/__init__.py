"""Whole analyses, made of what the package offers to its users."""
