"""Teachers and students: loading, fewer layers, quantized modules."""
