"""Settings: declared once in ``fields``, loaded, validated, rendered."""
