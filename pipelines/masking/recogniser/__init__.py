"""The offline recogniser of names, places, organisations and street addresses: its text generator, training and inference.

`generate` writes labelled text, `train` fits low-rank updates of the packaged MiniLM encoder on it, `model` loads and runs the result.
"""
