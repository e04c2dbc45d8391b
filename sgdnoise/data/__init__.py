"""The bundled data file and its licence."""
