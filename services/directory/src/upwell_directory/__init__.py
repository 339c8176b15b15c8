"""Who is who and who stands where: people, units, reporting lines, consent, and the only store of names."""
