"""From a run folder to a page that people send each other."""
