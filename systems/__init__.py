"""The published systems, one folder each, and what they share in common/; nothing here knows of nodes or servers."""
