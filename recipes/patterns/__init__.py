"""What `recipe new` begins with: a file a task."""
