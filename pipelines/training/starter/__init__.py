"""The starter model: a tiny Llama that copies the asked span from a passage and cites the passage."""
