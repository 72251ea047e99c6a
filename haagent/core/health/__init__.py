"""What the doctor finds: pure verdicts over facts that others gathered, one module a subject."""
