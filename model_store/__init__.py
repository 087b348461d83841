"""The model store: what a variant is, how its graph is built, where its weights come from."""
