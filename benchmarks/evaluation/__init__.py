"""What the benchmarks share: subjects, methods, measures, kept results and tables."""
