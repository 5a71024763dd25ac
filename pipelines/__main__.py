"""`python -m pipelines ...` is `ratchet ...`."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
