"""What recipes are made of, and what may be laid over them."""
