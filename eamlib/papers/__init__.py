"""The papers' tables as data, and what computes ours beside them."""
