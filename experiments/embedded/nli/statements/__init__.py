"""Sentences with a meaning: what each says (`text`) and what it is compatible with (`allows`)."""
