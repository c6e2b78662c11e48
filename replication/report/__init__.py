"""What people read: the site, the attention explorer, the tables of README.md."""
