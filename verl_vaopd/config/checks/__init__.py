"""What must hold between keys, by topic; each check adds its problems to a Findings."""
