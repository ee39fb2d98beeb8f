"""Pure builders: from a resolved job to the objects that run it."""
