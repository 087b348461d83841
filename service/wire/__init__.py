"""Generated stubs of messages and services (`make wire`), committed; a test compares them with the .proto files."""
