"""Riskline judges text with guard models: a label, categories, and where in the text the risk rose."""
