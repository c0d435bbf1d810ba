"""What the library costs and what it buys: `python -m tests.bench`."""
