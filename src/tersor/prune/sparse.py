"""Storage of arrays of many zeros."""
