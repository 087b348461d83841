"""What runs the service for others: see README.md beside this file."""
