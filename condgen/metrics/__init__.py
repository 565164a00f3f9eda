"""Measures of samples against real ones; they know tensors and labelled sets, and no model but their extractors."""
