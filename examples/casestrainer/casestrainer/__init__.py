"""Finds the citations in court documents, as background jobs of RQ."""
