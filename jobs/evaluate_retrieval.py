"""Measure how well an embedding finds lesions that are like a lesion."""

from etl.commands.evaluate_retrieval import main

if __name__ == "__main__":
    main()
