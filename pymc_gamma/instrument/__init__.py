"""The instrument: its response functions, observations with it, and when and where they can be trusted."""
