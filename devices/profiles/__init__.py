"""The device profiles that come with edgewright, a TOML file each, and the Edge TPU's operator table."""
