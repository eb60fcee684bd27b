"""A robot config made of what a policy bundle knows of its recordings: text, with comments for whom reviews it."""
