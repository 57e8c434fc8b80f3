"""Headrace: Azure Monitor's direct log ingestion on your own machine or cluster."""

__version__ = "0.1.0"
