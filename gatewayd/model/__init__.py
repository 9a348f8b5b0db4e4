"""The words of the project as frozen structs. No I/O, no concurrency, no imports from the rest of the package."""
