"""What users pass: checks of values, and batches of arrays and streams."""
