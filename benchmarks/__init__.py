"""Races against other systems and studies of papers; each module is one command that writes its table."""
