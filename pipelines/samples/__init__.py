"""Generated sample input: an invented regulation with its amendments, and invented clinical notes with planted identifiers.

`python -m pipelines.samples OUT [--seed 7]` writes it; the same seed writes the same bytes. Nobody in it exists and none of it is law.
"""
