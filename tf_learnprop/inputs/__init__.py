"""What users pass: values that are checked, arrays and streams that are cut into batches."""
