"""What is checked and shown before anything is submitted."""
