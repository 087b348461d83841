"""Generated gRPC stubs (`make wire`), committed; a test compares them with the .proto files."""
