"""The recipes that come with edgewright, a TOML file each."""
