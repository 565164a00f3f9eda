"""What goes wrong in long runs and with foreign files: made to happen here many times, and counted."""
