"""A checkpoint becomes a bundle, and is proven: only `riskline guards export` and `pull` need this room."""
