"""What takes long, one module a subject: each task is a small value that says what to compute, and computes it."""
