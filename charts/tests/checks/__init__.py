"""The checks, by what they look at. Importing a room puts its checks on the list."""
