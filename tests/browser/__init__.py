"""The page in a real browser, as a person has it: `make browser`."""
