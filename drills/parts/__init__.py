"""Parts of single drills, named after them or after what they do in them."""
